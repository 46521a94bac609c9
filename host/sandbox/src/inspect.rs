//! What a component says of itself. Nothing of it is run, and nothing believed.

use wasmparser::{ComponentTypeRef, Encoding, Parser, Payload, ProducersSectionReader};

use crate::ModuleError;

/// Names and entries listed of each kind: a component of any size has few.
const LISTED_MAX: usize = 1_024;
const PAGE_BYTES: u64 = 64 << 10;

/// What a component says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Interfaces that it imports, with their versions.
    pub imports: Vec<String>,
    /// What it exports.
    pub exports: Vec<String>,
    /// Bytes of linear memory that it starts with, over all memories, and the most it may have where it sets a bound on each.
    pub memory_bytes: (u64, Option<u64>),
    /// Core modules within.
    pub core_modules: usize,
    /// Bytes of machine-independent code in them.
    pub code_bytes: u64,
    /// What it was made with: kind, name, version.
    pub producers: Vec<(String, String, String)>,
}

impl Description {
    /// Reads a component.
    ///
    /// # Errors
    /// Where the bytes are none.
    pub fn of(component: &[u8]) -> Result<Self, ModuleError> {
        let refused = |error: wasmparser::BinaryReaderError| ModuleError::NotAComponent(error.to_string());
        let mut described = Self { memory_bytes: (0, Some(0)), ..Self::default() };
        let mut depth = 0_usize;
        let mut first = true;
        for payload in Parser::new(0).parse_all(component) {
            match payload.map_err(refused)? {
                Payload::Version { encoding, .. } => {
                    if std::mem::take(&mut first) && encoding != Encoding::Component {
                        return Err(ModuleError::NotAComponent("a core module".into()));
                    }
                    depth += 1;
                    described.core_modules += usize::from(encoding == Encoding::Module);
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 1 => {
                    for import in imports.into_iter().take(LISTED_MAX) {
                        let import = import.map_err(refused)?;
                        // Its types come as imports as well.
                        if matches!(import.ty, ComponentTypeRef::Instance(_) | ComponentTypeRef::Func(_)) {
                            described.imports.push(import.name.name.to_owned());
                        }
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 1 => {
                    for export in exports.into_iter().take(LISTED_MAX) {
                        described.exports.push(export.map_err(refused)?.name.name.to_owned());
                    }
                }
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        let memory = memory.map_err(refused)?;
                        let (initial, most) = &mut described.memory_bytes;
                        *initial = initial.saturating_add(memory.initial.saturating_mul(PAGE_BYTES));
                        let bound = memory.maximum.map(|pages| pages.saturating_mul(PAGE_BYTES));
                        *most = most.and_then(|most| Some(most.saturating_add(bound?)));
                    }
                }
                Payload::CodeSectionStart { size, .. } => described.code_bytes += u64::from(size),
                Payload::CustomSection(section) if section.name() == "producers" => {
                    // A damaged one is only decoration.
                    let Ok(fields) = ProducersSectionReader::new(wasmparser::BinaryReader::new(section.data(), section.data_offset()))
                    else {
                        continue;
                    };
                    for field in fields.into_iter().flatten() {
                        for value in field.values.into_iter().flatten() {
                            let entry = (field.name.to_owned(), value.name.to_owned(), value.version.to_owned());
                            if described.producers.len() < LISTED_MAX && !described.producers.contains(&entry) {
                                described.producers.push(entry);
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        if first { Err(ModuleError::NotAComponent("no bytes".into())) } else { Ok(described) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_described_and_anything_else_is_none() {
        let text = r#"(component (core module (memory 2 8) (func (export "f") nop)) (core module (memory 1 1)) (import "a:b/c@1.0.0" (instance)))"#;
        let described = Description::of(&wat::parse_str(text).expect("a component")).expect("described");
        assert_eq!((described.core_modules, described.memory_bytes), (2, (3 << 16, Some(9 << 16))));
        assert_eq!(described.imports, ["a:b/c@1.0.0"]);
        for other in [&b""[..], b"\0asm", b"\0asm\x01\0\0\0", b"text"] {
            assert!(matches!(Description::of(other), Err(ModuleError::NotAComponent(_))), "{other:?}");
        }
    }
}
