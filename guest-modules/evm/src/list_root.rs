//! The root of the trie over a list (Yellow Paper, 4.3.2: transactions and receipts), hashed level by level: all nodes of one
//! height are one call of the host. A block has as many leaves as transactions, so they are written without a list of their own each.

use alloy_primitives::B256;
use alloy_rlp::{EMPTY_STRING_CODE, Encodable};
use alloy_trie::EMPTY_ROOT_HASH;

use crate::trie::{self, Reference, common};

/// An item's position in RLP, a nibble each: none is a prefix of another, so no branch has a value.
#[derive(Clone, Copy)]
struct Key {
    nibbles: [u8; 2 * (1 + size_of::<u32>())],
    len: usize,
    item: usize,
}

impl Key {
    fn of(item: usize) -> Self {
        let mut bytes = [0; 1 + size_of::<u32>()];
        let position = item as u32;
        position.encode(&mut &mut bytes[..]);
        Self {
            nibbles: core::array::from_fn(|at| if at % 2 == 0 { bytes[at / 2] >> 4 } else { bytes[at / 2] & 15 }),
            len: 2 * position.length(),
            item,
        }
    }

    fn from(&self, depth: usize) -> &[u8] {
        &self.nibbles[depth..self.len]
    }
}

/// A node, and how many levels are below it. Children are positions in the list of nodes.
struct Node {
    shape: Shape,
    height: usize,
}

enum Shape {
    Leaf { key: Key, depth: usize },
    Extension { key: Key, depth: usize, shared: usize, child: usize },
    Branch(Box<[Option<usize>; 16]>),
}

/// The root over items that `encode` writes, with `hash` hashing many texts at once.
pub fn list_root<T>(items: &[T], encode: impl Fn(&T, &mut Vec<u8>), hash: impl Fn(&[Vec<u8>]) -> Vec<B256>) -> B256 {
    let count = items.len();
    // In the order of their keys: 1 to 127 are themselves, 0 is 0x80, and longer ones start with more than that.
    let ordered = (1..count.min(128)).chain((count > 0).then_some(0)).chain(128..count);
    let keys: Vec<Key> = ordered.map(Key::of).collect();
    let mut nodes = Vec::with_capacity(count * 9 / 8);
    let Some(root) = place(&keys, 0, &mut nodes) else { return EMPTY_ROOT_HASH };
    let mut references = vec![Reference::short(&[EMPTY_STRING_CODE]); nodes.len()];
    let mut scratch = Vec::new();
    for height in 0..nodes[root].height {
        let (mut named, mut long) = (Vec::new(), Vec::new());
        for (index, node) in nodes.iter().enumerate().filter(|(_, node)| node.height == height) {
            let rlp = write(&node.shape, items, &encode, &references, &mut scratch);
            if rlp.len() < 32 {
                references[index] = Reference::short(&rlp);
            } else {
                named.push(index);
                long.push(rlp);
            }
        }
        named.into_iter().zip(hash(&long)).for_each(|(index, hash)| references[index] = Reference::hashed(hash));
    }
    alloy_primitives::keccak256(write(&nodes[root].shape, items, &encode, &references, &mut scratch))
}

/// Places the node over `keys`, which have their first `depth` nibbles in common.
fn place(keys: &[Key], depth: usize, nodes: &mut Vec<Node>) -> Option<usize> {
    let (first, last) = (keys.first()?, keys.last()?);
    if keys.len() == 1 {
        return Some(push(nodes, Shape::Leaf { key: *first, depth }, 0));
    }
    let shared = common(first.from(depth), last.from(depth));
    let below = depth + shared;
    let mut children = Box::new([None; 16]);
    for group in keys.chunk_by(|a, b| a.nibbles[below] == b.nibbles[below]) {
        children[usize::from(group[0].nibbles[below])] = place(group, below + 1, nodes);
    }
    let height = children.iter().flatten().map(|child| nodes[*child].height + 1).max().unwrap_or_default();
    let branch = push(nodes, Shape::Branch(children), height);
    if shared == 0 {
        return Some(branch);
    }
    Some(push(nodes, Shape::Extension { key: *first, depth, shared, child: branch }, height + 1))
}

fn push(nodes: &mut Vec<Node>, shape: Shape, height: usize) -> usize {
    nodes.push(Node { shape, height });
    nodes.len() - 1
}

fn write<T>(shape: &Shape, items: &[T], encode: &impl Fn(&T, &mut Vec<u8>), references: &[Reference], scratch: &mut Vec<u8>) -> Vec<u8> {
    scratch.clear();
    match shape {
        Shape::Leaf { key, depth } => {
            encode(&items[key.item], scratch);
            trie::leaf(key.from(*depth), scratch)
        }
        Shape::Extension { key, depth, shared, child } => trie::extension(&key.from(*depth)[..*shared], references[*child].as_slice()),
        Shape::Branch(children) => {
            for child in &**children {
                scratch.extend_from_slice(child.map_or(&[EMPTY_STRING_CODE][..], |child| references[child].as_slice()));
            }
            trie::branch(scratch)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_those_of_alloy_at_every_length_of_key() {
        for count in [0, 1, 2, 16, 17, 127, 128, 129, 255, 256, 257, 300, 1_000] {
            for len in [0, 1, 20, 31, 32, 200] {
                let items: Vec<Vec<u8>> = (0..count).map(|index| vec![index as u8; len]).collect();
                let hash = |many: &[Vec<u8>]| many.iter().map(alloy_primitives::keccak256).collect();
                let root = list_root(&items, |item, out| out.extend_from_slice(item), hash);
                let expected = alloy_trie::root::ordered_trie_root_with_encoder(&items, |item, out| out.extend_from_slice(item));
                assert_eq!(root, expected, "{count} items of {len} bytes");
            }
        }
    }
}
