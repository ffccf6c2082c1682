//! What external tests may do to an actor. Compiled only with the feature `test-hooks`.

use std::sync::Arc;
use std::time::Duration;

/// Acts on an actor by its name in the tree; `false` when no actor has that name.
pub type Does<T> = Arc<dyn Fn(&str, T) -> bool + Send + Sync>;

/// The functions behind the hooks.
#[derive(Clone)]
pub struct Hooks {
    /// Makes an actor panic at its next turn.
    pub panic: Does<()>,
    /// Makes an actor block its thread for this long.
    pub hang: Does<Duration>,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooks")
    }
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            panic: Arc::new(|_, ()| false),
            hang: Arc::new(|_, _| false),
        }
    }
}
