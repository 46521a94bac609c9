//! The first byte chooses the decoder, the rest is its input.
#![no_main]

use libfuzzer_sys::fuzz_target;
use subnode_tests::decoders::ALL;

fuzz_target!(|input: &[u8]| {
    if let Some((first, bytes)) = input.split_first() {
        let (_, decode) = ALL[usize::from(*first) % ALL.len()];
        decode(bytes);
    }
});
