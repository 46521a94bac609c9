//! The end of a program whose output nobody reads.

/// What a shell shows of a program that SIGPIPE ended: 128 and its number.
const UNREAD: i32 = 141;

/// Has the program end without a word once nobody reads what it prints, as `head` does after some lines. Rust's programs ignore SIGPIPE, and `print!`
/// panics then.
pub fn end_quietly() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str().is_some_and(|text| text.contains("Broken pipe")) {
            std::process::exit(UNREAD);
        }
        before(panic);
    }));
}
