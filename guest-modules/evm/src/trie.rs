//! A Merkle Patricia trie (Yellow Paper, appendix D) whose nodes are rows of the state table, one per path.
//!
//! Rows hold a node's RLP under `prefix ‖ path` (one byte a nibble), so an update reads and writes only the nodes on the
//! way to what changed, and old heights keep their tries as they keep any row. Nodes shorter than 32 bytes live inside
//! their parent and have no row; the root always has one. Keys are hashes of equal length, so a branch has no value.

use std::collections::BTreeSet;

use alloy_primitives::B256;
use alloy_rlp::{Decodable, EMPTY_STRING_CODE, Encodable, Header, PayloadView};
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

/// How a parent names a node: by its hash, or as it is where it is shorter than that.
#[derive(Clone, Copy)]
pub struct Reference {
    bytes: [u8; 33],
    len: usize,
}

impl Reference {
    pub fn hashed(hash: B256) -> Self {
        let mut bytes = [EMPTY_STRING_CODE + 32; 33];
        bytes[1..].copy_from_slice(hash.as_slice());
        Self { bytes, len: 33 }
    }

    pub fn short(rlp: &[u8]) -> Self {
        let mut bytes = [0; 33];
        bytes[..rlp.len()].copy_from_slice(rlp);
        Self { bytes, len: rlp.len() }
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
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

    /// The root hash, and the rows to write. `hash` hashes many texts at once: all nodes of one height are one call.
    pub fn commit(mut self, hash: impl Fn(&[Vec<u8>]) -> Vec<B256>) -> (B256, Vec<Write>) {
        let root = core::mem::replace(&mut self.root, Child::Empty);
        let mut changed = Changed::default();
        let root_hash = match &root {
            Child::Empty => EMPTY_ROOT_HASH,
            Child::Hash(hash) => *hash,
            Child::Clean(node, Some(hash)) => {
                changed.keep(node, &mut Vec::new());
                changed.kept.insert(Vec::new());
                *hash
            }
            Child::Clean(node, None) | Child::Dirty(node) => {
                changed.gather(node, &mut Vec::new());
                changed.write(hash)
            }
        };
        let Changed { kept, mut writes, .. } = changed;
        writes.extend(self.read.into_iter().filter(|path| !kept.contains(path)).map(|path| (path, None)));
        (root_hash, writes)
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

/// A node that is named anew: it changed, or it lies inside its parent.
struct Named<'a> {
    node: &'a Node,
    path: Vec<u8>,
    /// Levels of such nodes below it.
    height: usize,
    /// Those right below it, in their order: positions in the list of all.
    below: Vec<usize>,
}

/// What a commit writes.
#[derive(Default)]
struct Changed<'a> {
    /// Nodes before their parents; the root is the last.
    nodes: Vec<Named<'a>>,
    /// Paths whose rows stay or are written.
    kept: BTreeSet<Vec<u8>>,
    writes: Vec<Write>,
}

impl<'a> Changed<'a> {
    /// Lists a node that is named anew, and those below it; its position.
    fn gather(&mut self, node: &'a Node, path: &mut Vec<u8>) -> usize {
        let (mut below, mut height) = (Vec::new(), 0);
        node.each_child(|part, child| {
            path.extend_from_slice(part);
            match child {
                Child::Empty | Child::Hash(_) => {}
                Child::Clean(node, Some(_)) => {
                    self.kept.insert(path.clone());
                    self.keep(node, path);
                }
                Child::Clean(node, None) | Child::Dirty(node) => {
                    let position = self.gather(node, path);
                    height = height.max(self.nodes[position].height + 1);
                    below.push(position);
                }
            }
            path.truncate(path.len() - part.len());
        });
        self.nodes.push(Named { node, path: path.clone(), height, below });
        self.nodes.len() - 1
    }

    /// Notes the rows of nodes that were read below a clean one.
    fn keep(&mut self, node: &Node, path: &mut Vec<u8>) {
        node.each_child(|part, child| {
            if let Child::Clean(node, hash) = child {
                path.extend_from_slice(part);
                if hash.is_some() {
                    self.kept.insert(path.clone());
                }
                self.keep(node, path);
                path.truncate(path.len() - part.len());
            }
        });
    }

    /// Names the listed nodes, level by level from below; the root's hash.
    fn write(&mut self, hash: impl Fn(&[Vec<u8>]) -> Vec<B256>) -> B256 {
        let root = self.nodes.len() - 1;
        let mut levels = vec![Vec::new(); self.nodes[root].height + 1];
        for (position, named) in self.nodes.iter().enumerate() {
            levels[named.height].push(position);
        }
        let mut references = vec![Reference::short(&[]); self.nodes.len()];
        for level in levels {
            let (mut positions, mut long) = (Vec::with_capacity(level.len()), Vec::with_capacity(level.len()));
            for position in level {
                let named = &self.nodes[position];
                let rlp = encode(named.node, named.below.iter().map(|below| &references[*below]));
                if rlp.len() < 32 && position != root {
                    references[position] = Reference::short(&rlp);
                } else {
                    positions.push(position);
                    long.push(rlp);
                }
            }
            let hashes = hash(&long);
            for ((position, rlp), hash) in positions.into_iter().zip(long).zip(hashes) {
                references[position] = Reference::hashed(hash);
                let path = core::mem::take(&mut self.nodes[position].path);
                self.kept.insert(path.clone());
                self.writes.push((path, Some(rlp)));
            }
        }
        B256::from_slice(&references[root].as_slice()[1..])
    }
}

impl Node {
    /// Calls `each` with every child and the nibbles that lead to it.
    fn each_child<'a>(&'a self, mut each: impl FnMut(&[u8], &'a Child)) {
        match self {
            Self::Leaf { .. } => {}
            Self::Extension { key, child } => each(key, child),
            Self::Branch(children) => {
                for (nibble, child) in (0u8..).zip(&**children) {
                    each(&[nibble], child);
                }
            }
        }
    }
}

/// A node's RLP. `named` are the references of those children that have no hash, in their order.
fn encode<'a>(node: &Node, mut named: impl Iterator<Item = &'a Reference>) -> Vec<u8> {
    let mut children = Vec::new();
    node.each_child(|_, child| match child {
        Child::Empty => children.push(EMPTY_STRING_CODE),
        Child::Hash(hash) | Child::Clean(_, Some(hash)) => hash.encode(&mut children),
        Child::Clean(_, None) | Child::Dirty(_) => children.extend(named.next().into_iter().flat_map(Reference::as_slice)),
    });
    match node {
        Node::Leaf { key, value } => leaf(key, value),
        Node::Extension { key, .. } => extension(key, &children),
        Node::Branch(_) => branch(&children),
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
    rlp.push(EMPTY_STRING_CODE);
    rlp
}

/// A list's header, with room for what follows.
fn open(payload_length: usize) -> Vec<u8> {
    let header = Header { list: true, payload_length };
    let mut rlp = Vec::with_capacity(header.length_with_payload());
    header.encode(&mut rlp);
    rlp
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
        Some(&EMPTY_STRING_CODE) => Ok(Child::Empty),
        Some(byte) if *byte >= alloy_rlp::EMPTY_LIST_CODE => Ok(Child::Clean(Box::new(try_decode(&mut item)?), None)),
        _ => Ok(Child::Hash(B256::decode(&mut item)?)),
    }
}

/// Whether these bytes alone are a node.
#[cfg(test)]
pub fn is_node(mut rlp: &[u8]) -> bool {
    try_decode(&mut rlp).is_ok() && rlp.is_empty()
}

mod sorted;
pub use sorted::Sorted;

#[cfg(test)]
mod tests;
