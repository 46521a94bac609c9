//! Why a request is not carried out.

use subnode_node::ControlError;

pub(super) const PARSE_ERROR: i32 = -32700;
pub(super) const METHOD_NOT_FOUND: i32 = -32601;
pub(super) const INVALID_PARAMS: i32 = -32602;
pub(super) const REFUSED: i32 = -32000;

/// For the operator.
pub(super) struct Failure {
    pub(super) code: i32,
    pub(super) message: String,
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        Self { code: REFUSED, message: error.to_string() }
    }
}

pub(super) fn invalid(message: impl Into<String>) -> Failure {
    Failure { code: INVALID_PARAMS, message: message.into() }
}
