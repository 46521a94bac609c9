//! Any value of a WIT type, as it lies in a guest's memory: choices are taken from bytes, and none that is left is a zero.

use wit_parser::{Resolve, SizeAlign, Type, TypeDefKind, TypeId};

/// Where choices come from.
pub(crate) struct Choices<'a>(pub(crate) &'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    pub(crate) fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// A small number mostly, or one at whose sides code takes another way, or any.
    fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..0xc0 => u64::from(small),
            edge @ 0xc0..0xf0 => [u64::MAX, u64::MAX / 2, 1 << 32, 1 << 60, 1 << 20, 0xffff][usize::from(edge) % 6],
            _ => {
                let mut number = [0; 8];
                let bytes = self.bytes(8);
                number[..bytes.len()].copy_from_slice(bytes);
                u64::from_le_bytes(number)
            }
        }
    }

    /// How many elements a list has.
    fn count(&mut self) -> usize {
        match self.byte() {
            some @ 0..0xf0 => usize::from(some % 4),
            more => usize::from(more - 0xe0) * 16,
        }
    }

    /// How many bytes a list of bytes has: lengths that mean something, and others.
    fn length(&mut self) -> usize {
        match self.byte() {
            known @ 0..0x80 => [0, 1, 15, 16, 20, 32, 33, 64][usize::from(known) % 8],
            some @ 0x80..0xf0 => usize::from(some),
            many => usize::from(many) << 4,
        }
    }
}

/// Values of the types of a world, in memory that begins at `base`.
pub(crate) struct Values {
    resolve: Resolve,
    sizes: SizeAlign,
    base: usize,
}

impl Values {
    pub(crate) fn new(resolve: Resolve, base: usize) -> Self {
        let mut sizes = SizeAlign::default();
        sizes.fill(&resolve);
        Self { resolve, sizes, base }
    }

    /// The memory of a value, which begins with it.
    pub(crate) fn lay(&self, of: &Type, choices: &mut Choices<'_>) -> Vec<u8> {
        let mut memory = vec![0; self.sizes.size(of).size_wasm32()];
        self.at(&mut memory, 0, of, choices);
        memory
    }

    fn at(&self, memory: &mut Vec<u8>, at: usize, of: &Type, choices: &mut Choices<'_>) {
        let mut put = |bytes: &[u8]| memory[at..at + bytes.len()].copy_from_slice(bytes);
        match of {
            Type::Bool => put(&[choices.byte() & 1]),
            Type::U8 | Type::S8 => put(&[choices.byte()]),
            Type::U16 | Type::S16 => put(&choices.number().to_le_bytes()[..2]),
            Type::U32 | Type::S32 | Type::F32 => put(&choices.number().to_le_bytes()[..4]),
            Type::U64 | Type::S64 | Type::F64 => put(&choices.number().to_le_bytes()),
            Type::Char => put(&u32::from(choices.byte()).to_le_bytes()),
            Type::String => {
                let length = choices.length();
                // Mostly text.
                let bytes: Vec<u8> = choices.bytes(length).iter().map(|byte| if *byte < 0xf0 { byte & 0x7f } else { *byte }).collect();
                self.list(memory, at, 1, bytes.len(), &bytes);
            }
            Type::Id(id) => self.defined(memory, at, *id, choices),
            Type::ErrorContext => unreachable!("the contract has none"),
        }
    }

    fn defined(&self, memory: &mut Vec<u8>, at: usize, id: TypeId, choices: &mut Choices<'_>) {
        match &self.resolve.types[id].kind {
            TypeDefKind::Type(of) => self.at(memory, at, of, choices),
            TypeDefKind::Record(record) => self.fields(memory, at, record.fields.iter().map(|field| field.ty), choices),
            TypeDefKind::Tuple(tuple) => self.fields(memory, at, tuple.types.iter().copied(), choices),
            TypeDefKind::Enum(of) => memory[at] = choices.byte() % u8::try_from(of.cases.len()).unwrap(),
            TypeDefKind::Variant(variant) => self.case(memory, at, &variant.cases.iter().map(|case| case.ty).collect::<Vec<_>>(), choices),
            TypeDefKind::Option(some) => self.case(memory, at, &[None, Some(*some)], choices),
            TypeDefKind::Result(result) => self.case(memory, at, &[result.ok, result.err], choices),
            TypeDefKind::List(Type::U8) => {
                let length = choices.length();
                // What no choice is left for is there all the same.
                let bytes = choices.bytes(length);
                self.list(memory, at, 1, length, &[bytes, &vec![7; length - bytes.len()]].concat());
            }
            TypeDefKind::List(of) => {
                let (size, count) = (self.sizes.size(of).size_wasm32(), choices.count());
                let elements = self.list(memory, at, self.sizes.align(of).align_wasm32(), count, &vec![0; size * count]);
                (0..count).for_each(|index| self.at(memory, elements + index * size, of, choices));
            }
            other => unreachable!("the contract has no {}", other.as_str()),
        }
    }

    fn fields(&self, memory: &mut Vec<u8>, at: usize, fields: impl Iterator<Item = Type>, choices: &mut Choices<'_>) {
        let fields: Vec<Type> = fields.collect();
        for (offset, field) in self.sizes.field_offsets(&fields) {
            self.at(memory, at + offset.size_wasm32(), field, choices);
        }
    }

    fn case(&self, memory: &mut Vec<u8>, at: usize, cases: &[Option<Type>], choices: &mut Choices<'_>) {
        let case = choices.byte() % u8::try_from(cases.len()).unwrap();
        memory[at] = case;
        let tag = wit_parser::Int::U8;
        let payload = at + self.sizes.payload_offset(tag, cases.iter().map(Option::as_ref)).size_wasm32();
        if let Some(of) = &cases[usize::from(case)] {
            self.at(memory, payload, of, choices);
        }
    }

    /// Lays elements behind all else, and where they are and how many at `at`; where they are in `memory`.
    fn list(&self, memory: &mut Vec<u8>, at: usize, align: usize, count: usize, elements: &[u8]) -> usize {
        memory.resize(memory.len().next_multiple_of(align), 0);
        let start = memory.len();
        memory.extend_from_slice(elements);
        let put = |memory: &mut Vec<u8>, at: usize, number: usize| {
            memory[at..at + 4].copy_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
        };
        put(memory, at, self.base + start);
        put(memory, at + 4, count);
        start
    }
}
