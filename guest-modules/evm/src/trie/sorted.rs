//! A trie from keys in their order: the same rows as [`super::Trie`] would write, with no more in memory than the way to the last key.

use alloy_primitives::B256;

use super::{Reference, branch, common, extension, leaf, nibbles};

/// Nibbles of a key.
const KEY_NIBBLES: usize = 64;
/// A node that is shorter is named by what it is, and has no row but as the root.
const HASHED_BYTES_MIN: usize = 32;

/// Builds a trie. `write` gets each row, path and RLP, and answers the RLP's hash.
pub struct Sorted<W> {
    write: W,
    /// The last key and its value: how long its leaf's part of the key is depends on the next.
    last: Option<(Vec<u8>, Vec<u8>)>,
    /// Branches on the way to the last key, from the root on.
    open: Vec<Open>,
}

/// A branch that more children may come to.
struct Open {
    /// Nibbles that lead to it.
    depth: usize,
    children: [Option<Reference>; 16],
}

impl Open {
    fn new(depth: usize) -> Self {
        Self { depth, children: [None; 16] }
    }

    fn encode(&self) -> Vec<u8> {
        let mut children = Vec::with_capacity(16 * 33);
        for child in &self.children {
            match child {
                Some(reference) => children.extend_from_slice(reference.as_slice()),
                None => children.push(alloy_rlp::EMPTY_STRING_CODE),
            }
        }
        branch(&children)
    }
}

impl<W: FnMut(&[u8], &[u8]) -> B256> Sorted<W> {
    pub fn new(write: W) -> Self {
        Self { write, last: None, open: Vec::new() }
    }

    /// Puts `value` under a key that is greater than the last one.
    pub fn push(&mut self, key: B256, value: Vec<u8>) {
        let key = nibbles(key.as_slice());
        if let Some((last, value)) = self.last.take() {
            let shared = common(&last, &key);
            assert!(shared < KEY_NIBBLES && last[shared] < key[shared], "keys out of order");
            self.close(&last, &value, shared);
        }
        self.last = Some((key, value));
    }

    /// The root, if there is any key.
    pub fn finish(mut self) -> Option<B256> {
        let (last, value) = self.last.take()?;
        if self.open.is_empty() {
            return Some((self.write)(&[], &leaf(&last, &value)));
        }
        self.place_leaf(&last, &value);
        while self.open.len() > 1 {
            let parent = self.open[self.open.len() - 2].depth;
            self.place_branch(&last, parent);
        }
        let root = self.open.pop()?;
        let rlp = root.encode();
        if root.depth == 0 {
            return Some((self.write)(&[], &rlp));
        }
        let child = self.name(&last[..root.depth], &rlp);
        Some((self.write)(&[], &extension(&last[..root.depth], child.as_slice())))
    }

    /// Places the last leaf, and all branches that no later key comes to: the next key shares so many nibbles.
    fn close(&mut self, last: &[u8], value: &[u8], shared: usize) {
        if self.open.last().is_none_or(|top| top.depth < shared) {
            self.open.push(Open::new(shared));
        }
        self.place_leaf(last, value);
        while let Some(top) = self.open.last()
            && top.depth > shared
        {
            let below = self.open.len().checked_sub(2).map(|below| self.open[below].depth);
            if below.is_none_or(|depth| depth < shared) {
                let top = self.open.len() - 1;
                self.open.insert(top, Open::new(shared));
            }
            let parent = self.open[self.open.len() - 2].depth;
            self.place_branch(last, parent);
        }
    }

    /// The last leaf becomes a child of the deepest branch.
    fn place_leaf(&mut self, last: &[u8], value: &[u8]) {
        let Some(depth) = self.open.last().map(|top| top.depth) else { return };
        let named = self.name(&last[..=depth], &leaf(&last[depth + 1..], value));
        self.place(last[depth], named);
    }

    /// The deepest branch becomes a child of the one above, which is at `parent`.
    fn place_branch(&mut self, last: &[u8], parent: usize) {
        let Some(closed) = self.open.pop() else { return };
        let mut named = self.name(&last[..closed.depth], &closed.encode());
        let between = &last[parent + 1..closed.depth];
        if !between.is_empty() {
            named = self.name(&last[..=parent], &extension(between, named.as_slice()));
        }
        self.place(last[parent], named);
    }

    fn place(&mut self, nibble: u8, child: Reference) {
        if let Some(top) = self.open.last_mut() {
            top.children[usize::from(nibble)] = Some(child);
        }
    }

    fn name(&mut self, path: &[u8], rlp: &[u8]) -> Reference {
        if rlp.len() < HASHED_BYTES_MIN { Reference::short(rlp) } else { Reference::hashed((self.write)(path, rlp)) }
    }
}
