//! A host for consensus modules that are no component: one's own tests run them natively, and give them what
//! [`signing`] and [`authors`] ask for.
//!
//! [`signing`]: ../consensus/signing/index.html
//! [`authors`]: ../consensus/authors/index.html

use std::{cell::RefCell, rc::Rc};

use crate::consensus_bindings::subnode::chain::signing::Position;

/// The signatures of a node, and the authors of blocks. What they promise is said in wit/signing.wit and wit/authors.wit.
pub trait Host {
    /// This node's public key, or none where it has no vote.
    fn key(&self) -> Option<Vec<u8>>;
    /// A signature, unless another text was signed there or later.
    fn sign(&self, at: Position, text: &[u8]) -> Option<Vec<u8>>;
    /// Whether a signature is that of `key`.
    fn verify(&self, key: &[u8], at: Position, text: &[u8], signature: &[u8]) -> bool;
    /// The author of a block that could be next, or none where blocks have no authors.
    fn author(&self, _id: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

thread_local! {
    static HOST: RefCell<Option<Rc<dyn Host>>> = const { RefCell::new(None) };
}

/// Makes a call of a module on this host.
pub fn with<T>(host: Rc<dyn Host>, call: impl FnOnce() -> T) -> T {
    let before = HOST.replace(Some(host));
    let result = call();
    HOST.set(before);
    result
}

fn host() -> Option<Rc<dyn Host>> {
    HOST.with_borrow(Clone::clone)
}

/// See wit/signing.wit.
pub fn key() -> Option<Vec<u8>> {
    host()?.key()
}

/// See wit/signing.wit.
pub fn sign(at: Position, text: &[u8]) -> Option<Vec<u8>> {
    host()?.sign(at, text)
}

/// See wit/authors.wit.
pub fn author(id: &[u8]) -> Option<Vec<u8>> {
    host()?.author(id)
}

/// See wit/signing.wit.
pub fn verify(key: &[u8], at: Position, text: &[u8], signature: &[u8]) -> bool {
    host().is_some_and(|host| host.verify(key, at, text, signature))
}
