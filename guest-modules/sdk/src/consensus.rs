//! The `consensus` world.

#[doc(hidden)]
pub use crate::consensus_bindings as bindings;

pub use bindings::subnode::chain::{
    agreement::{Beginning, Candidate, Committed, Decision, Effect, Evidence, Input, Judged, Verdict, Wanted},
    signing::Position,
    types::{BlockRef, Sealing, Validator},
};

pub mod signing {
    //! The signatures of this node, and those of others.

    #[cfg(target_family = "wasm")]
    pub use super::bindings::subnode::chain::signing::{key, sign, verify};
    #[cfg(not(target_family = "wasm"))]
    pub use crate::native::{key, sign, verify};
}

pub mod authors {
    //! Who made which block.

    #[cfg(target_family = "wasm")]
    pub use super::bindings::subnode::chain::authors::author;
    #[cfg(not(target_family = "wasm"))]
    pub use crate::native::author;
}

/// Which block is next. One value lives as long as the chain runs.
pub trait Consensus: Sized + 'static {
    /// Starts on a head, with what was logged since, and returns the first effects. The error says what is wrong with
    /// the configuration.
    fn start(beginning: Beginning) -> Result<(Self, Vec<Effect>), String>;

    /// Advances by one input, and returns the effects. `now_ms` counts from when the chain was opened, and only
    /// forward.
    fn handle(&mut self, now_ms: u64, input: Input) -> Vec<Effect>;

    /// Whether a certificate shows that a committee decided on a block, or why it does not.
    fn check(committee: Vec<Validator>, height: u64, id: Vec<u8>, certificate: Vec<u8>) -> Result<(), String>;
}

/// Makes a component of a [`Consensus`](crate::consensus::Consensus).
#[macro_export]
macro_rules! consensus {
    ($module:ty) => {
        std::thread_local! {
            static MODULE: std::cell::RefCell<Option<$module>> = const { std::cell::RefCell::new(None) };
        }

        struct Component;

        impl $crate::consensus::bindings::Guest for Component {
            fn start(beginning: $crate::consensus::Beginning) -> Result<Vec<$crate::consensus::Effect>, String> {
                let (module, effects) = <$module as $crate::consensus::Consensus>::start(beginning)?;
                MODULE.set(Some(module));
                Ok(effects)
            }

            fn handle(now_ms: u64, input: $crate::consensus::Input) -> Vec<$crate::consensus::Effect> {
                MODULE.with_borrow_mut(|module| match module {
                    Some(module) => $crate::consensus::Consensus::handle(module, now_ms, input),
                    None => Vec::new(),
                })
            }

            fn check(
                committee: Vec<$crate::consensus::Validator>,
                height: u64,
                id: Vec<u8>,
                certificate: Vec<u8>,
            ) -> Result<(), String> {
                <$module as $crate::consensus::Consensus>::check(committee, height, id, certificate)
            }
        }

        $crate::consensus::bindings::export_consensus!(Component with_types_in $crate::consensus::bindings);
    };
}
