//! Ethereum chains inside a test
