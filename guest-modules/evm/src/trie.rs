//! A Merkle Patricia trie (Yellow Paper, appendix D) whose nodes are rows of the state table, one per path.
//!
//! Rows hold a node's RLP under `prefix ‖ path` (one byte a nibble), so an update reads and writes only the nodes on the
//! way to what changed, and old heights keep their tries as they keep any row. Nodes shorter than 32 bytes live inside
//! their parent and have no row; the root always has one. Keys are hashes of equal length, so a branch has no value.

use std::collections::BTreeSet;

use alloy_primitives::{B256, keccak256};
use alloy_rlp::{Decodable, Encodable, Header, PayloadView};
use alloy_trie::EMPTY_ROOT_HASH;

/// Reads the row of a node, and collects what to write.
pub struct Trie<L> {
    load: L,
    root: Child,
    /// Paths whose rows were read, to be deleted if no node is left there.
    read: BTreeSet<Vec<u8>>,
}

enum Child {
    Empty,
    /// Not read yet.
    Hash(B256),
    /// Read, or inside its parent (then without a hash), and as it was.
    Clean(Box<Node>, Option<B256>),
    Dirty(Box<Node>),
}

enum Node {
    Leaf {
        key: Vec<u8>,
        value: Vec<u8>,
    },
    Extension {
        key: Vec<u8>,
        child: Child,
    },
    /// Behind a pointer of its own: leaves are many, and nodes move.
    Branch(Box<[Child; 16]>),
}

/// A row to write: path, and the node's RLP or none.
pub type Write = (Vec<u8>, Option<Vec<u8>>);

impl<L: FnMut(&[u8]) -> Option<Vec<u8>>> Trie<L> {
    pub fn new(root: B256, load: L) -> Self {
        let root = if root == EMPTY_ROOT_HASH { Child::Empty } else { Child::Hash(root) };
        Self { load, root, read: BTreeSet::new() }
    }

    /// Puts `value` under a 32-byte key, or removes the key.
    pub fn update(&mut self, key: B256, value: Option<Vec<u8>>) {
        let key = nibbles(key.as_slice());
        let root = core::mem::replace(&mut self.root, Child::Empty);
        self.root = match value {
            Some(value) => self.insert(root, &key, 0, value),
            None => self.remove(root, &key, 0),
        };
    }

    /// The root hash, and the rows to write.
    pub fn commit(mut self) -> (B256, Vec<Write>) {
        let mut writes = Vec::new();
        let mut kept = BTreeSet::new();
        let root = core::mem::replace(&mut self.root, Child::Empty);
        let hash = match &root {
            Child::Empty => EMPTY_ROOT_HASH,
            Child::Hash(hash) => *hash,
            Child::Clean(node, hash) => {
                keep(node, &mut Vec::new(), &mut kept);
                kept.insert(Vec::new());
                hash.unwrap_or_else(|| keccak256(encode(node, &mut Vec::new(), &mut writes, &mut kept)))
            }
            Child::Dirty(node) => {
                let rlp = encode(node, &mut Vec::new(), &mut writes, &mut kept);
                let hash = keccak256(&rlp);
                kept.insert(Vec::new());
                writes.push((Vec::new(), Some(rlp)));
                hash
            }
        };
        writes.extend(self.read.into_iter().filter(|path| !kept.contains(path)).map(|path| (path, None)));
        (hash, writes)
    }

    /// The nodes from the root towards `key`, as EIP-1186 wants them.
    pub fn proof(mut self, key: B256) -> Vec<Vec<u8>> {
        let key = nibbles(key.as_slice());
        let mut proof = Vec::new();
        let mut at = 0;
        let mut child = core::mem::replace(&mut self.root, Child::Empty);
        loop {
            if let Child::Hash(_) = child {
                proof.extend((self.load)(&key[..at]));
            }
            let Some(node) = self.resolve(child, &key[..at]) else { return proof };
            child = match node {
                Node::Leaf { .. } => return proof,
                Node::Extension { key: part, child } if key[at..].starts_with(&part) => {
                    at += part.len();
                    child
                }
                Node::Extension { .. } => return proof,
                Node::Branch(mut children) => {
                    let child = core::mem::replace(&mut children[usize::from(key[at])], Child::Empty);
                    at += 1;
                    child
                }
            };
        }
    }

    /// The node behind `child`. A row that is missing or malformed is a broken store: this traps, a fault and no verdict.
    fn resolve(&mut self, child: Child, path: &[u8]) -> Option<Node> {
        match child {
            Child::Empty => None,
            Child::Clean(node, _) | Child::Dirty(node) => Some(*node),
            Child::Hash(hash) => {
                let Some(rlp) = (self.load)(path) else { panic!("trie node {hash} is missing at {path:?}") };
                self.read.insert(path.to_vec());
                Some(decode(&rlp))
            }
        }
    }

    fn insert(&mut self, child: Child, key: &[u8], at: usize, value: Vec<u8>) -> Child {
        let rest = &key[at..];
        let node = match self.resolve(child, &key[..at]) {
            None => Node::Leaf { key: rest.to_vec(), value },
            Some(Node::Leaf { key: part, .. }) if part == rest => Node::Leaf { key: part, value },
            Some(Node::Leaf { key: part, value: old }) => {
                let shared = common(&part, rest);
                let mut children = Box::new([const { Child::Empty }; 16]);
                children[usize::from(part[shared])] = Child::Dirty(Box::new(Node::Leaf { key: part[shared + 1..].to_vec(), value: old }));
                children[usize::from(rest[shared])] = Child::Dirty(Box::new(Node::Leaf { key: rest[shared + 1..].to_vec(), value }));
                extend(&rest[..shared], Child::Dirty(Box::new(Node::Branch(children))))
            }
            Some(Node::Extension { key: part, child }) => {
                let shared = common(&part, rest);
                if shared == part.len() {
                    Node::Extension { child: self.insert(child, key, at + shared, value), key: part }
                } else {
                    let mut children = Box::new([const { Child::Empty }; 16]);
                    let below = &part[shared + 1..];
                    children[usize::from(part[shared])] =
                        if below.is_empty() { child } else { Child::Dirty(Box::new(extend(below, child))) };
                    children[usize::from(rest[shared])] = Child::Dirty(Box::new(Node::Leaf { key: rest[shared + 1..].to_vec(), value }));
                    extend(&rest[..shared], Child::Dirty(Box::new(Node::Branch(children))))
                }
            }
            Some(Node::Branch(mut children)) => {
                let slot = usize::from(rest[0]);
                let child = core::mem::replace(&mut children[slot], Child::Empty);
                children[slot] = self.insert(child, key, at + 1, value);
                Node::Branch(children)
            }
        };
        Child::Dirty(Box::new(node))
    }

    fn remove(&mut self, child: Child, key: &[u8], at: usize) -> Child {
        let rest = &key[at..];
        match self.resolve(child, &key[..at]) {
            None => Child::Empty,
            Some(Node::Leaf { key: part, .. }) if part == rest => Child::Empty,
            Some(leaf @ Node::Leaf { .. }) => Child::Dirty(Box::new(leaf)),
            Some(Node::Extension { key: part, child }) => {
                if !rest.starts_with(&part) {
                    return Child::Dirty(Box::new(Node::Extension { key: part, child }));
                }
                let below = at + part.len();
                let child = self.remove(child, key, below);
                self.join(part, child, &key[..below])
            }
            Some(Node::Branch(mut children)) => {
                let slot = usize::from(rest[0]);
                let child = core::mem::replace(&mut children[slot], Child::Empty);
                children[slot] = self.remove(child, key, at + 1);
                let mut left = children.iter().enumerate().filter(|(_, child)| !matches!(child, Child::Empty));
                match (left.next().map(|(i, _)| i), left.next()) {
                    (Some(only), None) => {
                        let child = core::mem::replace(&mut children[only], Child::Empty);
                        let nibble = only as u8;
                        let path = [&key[..at], &[nibble]].concat();
                        self.join(vec![nibble], child, &path)
                    }
                    _ => Child::Dirty(Box::new(Node::Branch(children))),
                }
            }
        }
    }

    /// The node that stands for `child` (at `path`) below the nibbles `key`.
    fn join(&mut self, key: Vec<u8>, child: Child, path: &[u8]) -> Child {
        let node = match child {
            Child::Empty => return Child::Empty,
            child => match self.resolve(child, path) {
                None => return Child::Empty,
                Some(Node::Leaf { key: part, value }) => Node::Leaf { key: [key, part].concat(), value },
                Some(Node::Extension { key: part, child }) => Node::Extension { key: [key, part].concat(), child },
                Some(branch @ Node::Branch(_)) => Node::Extension { key, child: Child::Dirty(Box::new(branch)) },
            },
        };
        Child::Dirty(Box::new(node))
    }
}

fn extend(key: &[u8], child: Child) -> Node {
    match child {
        Child::Dirty(node) if key.is_empty() => *node,
        child => Node::Extension { key: key.to_vec(), child },
    }
}

/// How many nibbles two paths share from the start.
pub fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn nibbles(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect()
}

/// Notes the rows of nodes that were read below a clean one.
fn keep(node: &Node, path: &mut Vec<u8>, kept: &mut BTreeSet<Vec<u8>>) {
    let mut below = |child: &Child, part: &[u8], path: &mut Vec<u8>| {
        if let Child::Clean(node, hash) = child {
            path.extend_from_slice(part);
            if hash.is_some() {
                kept.insert(path.clone());
            }
            keep(node, path, kept);
            path.truncate(path.len() - part.len());
        }
    };
    match node {
        Node::Leaf { .. } => {}
        Node::Extension { key, child } => below(child, key, path),
        Node::Branch(children) => {
            for (nibble, child) in (0u8..).zip(&**children) {
                below(child, &[nibble], path);
            }
        }
    }
}

fn encode(node: &Node, path: &mut Vec<u8>, writes: &mut Vec<Write>, kept: &mut BTreeSet<Vec<u8>>) -> Vec<u8> {
    let mut children_rlp = Vec::new();
    match node {
        Node::Leaf { key, value } => leaf(key, value),
        Node::Extension { key, child } => {
            path.extend_from_slice(key);
            reference(child, path, writes, kept, &mut children_rlp);
            path.truncate(path.len() - key.len());
            extension(key, &children_rlp)
        }
        Node::Branch(children) => {
            for (nibble, child) in (0u8..).zip(&**children) {
                path.push(nibble);
                reference(child, path, writes, kept, &mut children_rlp);
                path.pop();
            }
            branch(&children_rlp)
        }
    }
}

/// The RLP of a leaf.
pub fn leaf(key: &[u8], value: &[u8]) -> Vec<u8> {
    let path = compact(key, true);
    let mut rlp = open(path.as_slice().length() + value.length());
    path.as_slice().encode(&mut rlp);
    value.encode(&mut rlp);
    rlp
}

/// The RLP of an extension, from how it names its child.
pub fn extension(key: &[u8], child: &[u8]) -> Vec<u8> {
    let path = compact(key, false);
    let mut rlp = open(path.as_slice().length() + child.len());
    path.as_slice().encode(&mut rlp);
    rlp.extend_from_slice(child);
    rlp
}

/// The RLP of a branch without a value, from how it names its sixteen children.
pub fn branch(children: &[u8]) -> Vec<u8> {
    let mut rlp = open(children.len() + 1);
    rlp.extend_from_slice(children);
    rlp.push(alloy_rlp::EMPTY_STRING_CODE);
    rlp
}

/// A list's header, with room for what follows.
fn open(payload_length: usize) -> Vec<u8> {
    let header = Header { list: true, payload_length };
    let mut rlp = Vec::with_capacity(header.length_with_payload());
    header.encode(&mut rlp);
    rlp
}

/// Appends how a parent names `child`: nothing, its hash, or itself if it is short.
fn reference(child: &Child, path: &mut Vec<u8>, writes: &mut Vec<Write>, kept: &mut BTreeSet<Vec<u8>>, out: &mut Vec<u8>) {
    match child {
        Child::Empty => out.push(alloy_rlp::EMPTY_STRING_CODE),
        Child::Hash(hash) => hash.encode(out),
        Child::Clean(node, Some(hash)) => {
            kept.insert(path.clone());
            keep(node, path, kept);
            hash.encode(out);
        }
        Child::Clean(node, None) | Child::Dirty(node) => {
            let rlp = encode(node, path, writes, kept);
            if rlp.len() < 32 {
                out.extend_from_slice(&rlp);
            } else {
                keccak256(&rlp).encode(out);
                kept.insert(path.clone());
                writes.push((path.clone(), Some(rlp)));
            }
        }
    }
}

/// Hex-prefix encoding.
fn compact(key: &[u8], leaf: bool) -> Vec<u8> {
    let flag = if leaf { 0x20 } else { 0 };
    let (first, rest) = if key.len() % 2 == 1 { (flag | 0x10 | key[0], &key[1..]) } else { (flag, key) };
    core::iter::once(first).chain(rest.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1])).collect()
}

fn decode(rlp: &[u8]) -> Node {
    try_decode(&mut &rlp[..]).unwrap_or_else(|error| panic!("malformed trie node: {error}"))
}

fn try_decode(rlp: &mut &[u8]) -> alloy_rlp::Result<Node> {
    let PayloadView::List(mut items) = Header::decode_raw(rlp)? else { return Err(alloy_rlp::Error::UnexpectedString) };
    if items.len() == 17 {
        let mut children = Box::new([const { Child::Empty }; 16]);
        for (child, item) in children.iter_mut().zip(&items) {
            *child = decode_child(item)?;
        }
        return Ok(Node::Branch(children));
    }
    if items.len() != 2 {
        return Err(alloy_rlp::Error::UnexpectedLength);
    }
    let path = Header::decode_bytes(&mut items[0], false)?;
    let first = *path.first().ok_or(alloy_rlp::Error::InputTooShort)?;
    let mut key = nibbles(path);
    key.drain(..if first & 0x10 == 0 { 2 } else { 1 });
    if first & 0x20 == 0 {
        Ok(Node::Extension { key, child: decode_child(items[1])? })
    } else {
        Ok(Node::Leaf { key, value: Header::decode_bytes(&mut items[1], false)?.to_vec() })
    }
}

fn decode_child(mut item: &[u8]) -> alloy_rlp::Result<Child> {
    match item.first() {
        Some(&alloy_rlp::EMPTY_STRING_CODE) => Ok(Child::Empty),
        Some(byte) if *byte >= alloy_rlp::EMPTY_LIST_CODE => Ok(Child::Clean(Box::new(try_decode(&mut item)?), None)),
        _ => Ok(Child::Hash(B256::decode(&mut item)?)),
    }
}
