//! The fewest faults with which a seed fails.

/// What kind of violation it is: its first words.
pub(crate) fn kind(wrong: &[String]) -> String {
    wrong
        .first()
        .map(|one| one.chars().take(24).collect())
        .unwrap_or_default()
}

/// The fewest of these that still fail: halves are left out first, then ever smaller parts.
pub(crate) fn shrink<T: Clone>(all: &[T], fails: impl Fn(&[T]) -> bool) -> Vec<T> {
    let mut least = all.to_vec();
    let mut part = least.len().div_ceil(2);
    while part > 0 {
        let mut i = 0;
        while i < least.len() {
            let mut fewer = least.clone();
            fewer.drain(i..(i + part).min(fewer.len()));
            if fails(&fewer) {
                least = fewer;
            } else {
                i += part;
            }
        }
        part = if part == 1 { 0 } else { part.div_ceil(2) };
    }
    least
}

/// Which of all they are, as `SIM_FAULTS` takes it.
pub(crate) fn kept<T: PartialEq>(all: &[T], least: &[T]) -> String {
    let kept = all.iter().enumerate().filter(|(_, one)| least.contains(one));
    let kept: Vec<String> = kept.map(|(i, _)| i.to_string()).collect();
    kept.join(",")
}
