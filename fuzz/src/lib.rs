//! Finds a target by its name.
#![forbid(unsafe_code)]

/// Sends bytes through a target of `candela::fuzzing`.
///
/// # Panics
/// Where there is no such target, and where the target finds a fault.
pub fn run(name: &str, bytes: &[u8]) {
    let found = candela::fuzzing::TARGETS.iter().find(|(target, _)| *target == name);
    let (_, target) = found.expect("a target of candela::fuzzing");
    target(bytes);
}
