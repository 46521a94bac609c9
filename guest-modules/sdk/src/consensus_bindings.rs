//! The `consensus` world, as wit/ has it.
#![allow(clippy::too_many_arguments, missing_docs, reason = "generated")]

wit_bindgen::generate!({
    world: "consensus",
    path: "../../wit",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_consensus",
    default_bindings_module: "subnode_sdk::consensus_bindings",
});
