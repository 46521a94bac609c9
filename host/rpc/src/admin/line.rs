//! What an operator is answered with: a line of JSON.

use serde_json::{Value, json};

/// Bytes of an error's text. Some errors repeat what they were asked, which may be as long as a frame of an archive.
const TEXT_BYTES_MAX: usize = 2 << 10;

pub(super) fn finish_line(value: Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

pub(super) fn error_line(id: &Value, code: i32, message: &str) -> Vec<u8> {
    let message = &message[..message.floor_char_boundary(TEXT_BYTES_MAX)];
    finish_line(json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } }))
}
