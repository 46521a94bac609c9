//! The `runtime` world.

#[doc(hidden)]
pub mod bindings {
    //! From wit/.
    #![allow(clippy::too_many_arguments, missing_docs, reason = "generated")]

    wit_bindgen::generate!({
        world: "runtime",
        path: "../../wit",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_runtime",
        default_bindings_module: "subnode_sdk::runtime::bindings",
    });
}

pub use bindings::subnode::chain::{
    crypto, declare,
    execution::{
        Action, Admission, Answer, Attributes, Built, CommitteeChange, Invalid, Occurrence, Outcome, Progress, RpcError, Subscription,
        Topic,
    },
    host, keys, notes, pool, state,
    types::{BlockRef, Change, Sealing, Table, Validator},
};

/// What a block means. Nothing lives from one call to the next but what the host commits: every call sees the committed
/// state and its arguments.
pub trait Runtime {
    /// The first block of a chain, from its spec. The error says what is wrong with it.
    fn genesis(spec: Vec<u8>) -> Result<Built, String>;

    /// Whether each transaction may enter the pool, in their order.
    fn admit(head: BlockRef, transactions: Vec<Vec<u8>>) -> Vec<Result<Admission, RpcError>>;

    /// A block on `parent`, from the [`pool`].
    fn build(parent: BlockRef, attributes: Attributes) -> Result<Built, Invalid>;

    /// What a block from elsewhere does: the same as when it was built, on every host.
    fn execute(parent: BlockRef, block: Vec<u8>) -> Result<Outcome, Invalid>;

    /// Answers a client.
    fn query(head: BlockRef, method: String, params: Vec<u8>) -> Result<Answer, RpcError>;

    /// The JSON texts to send to a subscriber. A runtime without subscriptions leaves this out.
    fn notify(_head: BlockRef, _filter: Vec<u8>, _occurrence: Occurrence) -> Vec<Vec<u8>> {
        Vec::new()
    }
}

/// Makes a component of a [`Runtime`](crate::runtime::Runtime).
#[macro_export]
macro_rules! runtime {
    ($module:ty) => {
        struct Component;

        impl $crate::runtime::bindings::Guest for Component {
            fn genesis(spec: Vec<u8>) -> Result<$crate::runtime::Built, String> {
                <$module as $crate::runtime::Runtime>::genesis(spec)
            }

            fn admit(
                head: $crate::runtime::BlockRef,
                transactions: Vec<Vec<u8>>,
            ) -> Vec<Result<$crate::runtime::Admission, $crate::runtime::RpcError>> {
                <$module as $crate::runtime::Runtime>::admit(head, transactions)
            }

            fn build(
                parent: $crate::runtime::BlockRef,
                attributes: $crate::runtime::Attributes,
            ) -> Result<$crate::runtime::Built, $crate::runtime::Invalid> {
                <$module as $crate::runtime::Runtime>::build(parent, attributes)
            }

            fn execute(
                parent: $crate::runtime::BlockRef,
                block: Vec<u8>,
            ) -> Result<$crate::runtime::Outcome, $crate::runtime::Invalid> {
                <$module as $crate::runtime::Runtime>::execute(parent, block)
            }

            fn query(
                head: $crate::runtime::BlockRef,
                method: String,
                params: Vec<u8>,
            ) -> Result<$crate::runtime::Answer, $crate::runtime::RpcError> {
                <$module as $crate::runtime::Runtime>::query(head, method, params)
            }

            fn notify(
                head: $crate::runtime::BlockRef,
                filter: Vec<u8>,
                occurrence: $crate::runtime::Occurrence,
            ) -> Vec<Vec<u8>> {
                <$module as $crate::runtime::Runtime>::notify(head, filter, occurrence)
            }
        }

        $crate::runtime::bindings::export_runtime!(Component with_types_in $crate::runtime::bindings);
    };
}
