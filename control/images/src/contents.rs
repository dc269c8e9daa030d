//! What a Wasm binary imports and exports, read without compiling it.

use wasmparser::{Encoding, Parser, Payload};

/// Module or component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A core module (WASI 0.1).
    Module,
    /// A component (WASI 0.2 and later).
    Component,
}

/// The outside of a Wasm binary.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Contents {
    /// Module or component.
    pub kind: Kind,
    /// What it needs: interfaces of a component, `module.name` of a core module. In file order,
    /// without repetitions.
    pub imports: Vec<String>,
    /// What it offers.
    pub exports: Vec<String>,
}

/// The bytes are not a Wasm binary.
#[derive(Debug, thiserror::Error)]
pub enum NotWasm {
    /// It begins like something else.
    #[error(
        "it is {0}, not a Wasm binary; build for wasm32-wasip2 (or wasm32-wasip1) and use the .wasm file"
    )]
    Other(&'static str),
    /// It begins like Wasm and then breaks.
    #[error("it is a damaged Wasm binary: {0}")]
    Damaged(#[from] wasmparser::BinaryReaderError),
}

impl Contents {
    /// Reads the sections of a module or component; nested modules are skipped.
    ///
    /// # Errors
    /// When the bytes are something else, or break off.
    pub fn read(wasm: &[u8]) -> Result<Self, NotWasm> {
        if !wasm.starts_with(b"\0asm") {
            return Err(NotWasm::Other(kind_of(wasm)));
        }
        let mut contents = Self {
            kind: Kind::Module,
            imports: Vec::new(),
            exports: Vec::new(),
        };
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::Version { encoding, .. } if depth == 0 => {
                    contents.kind = match encoding {
                        Encoding::Module => Kind::Module,
                        Encoding::Component => Kind::Component,
                    };
                }
                // parse_all walks into nested binaries; each ends with an End of its own.
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ImportSection(section) if depth == 0 => {
                    for import in section.into_imports() {
                        let import = import?;
                        contents.import(format!("{}.{}", import.module, import.name));
                    }
                }
                Payload::ExportSection(section) if depth == 0 => {
                    for export in section {
                        contents.exports.push(export?.name.to_owned());
                    }
                }
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        contents.import(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        contents.exports.push(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(contents)
    }

    fn import(&mut self, name: String) {
        // Modules may import one name twice; the lists are short.
        if self.imports.last() != Some(&name) {
            self.imports.push(name);
        }
    }
}

fn kind_of(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "an empty file",
        [0x7f, b'E', b'L', b'F', ..] => "a Linux program (ELF)",
        [b'M', b'Z', ..] => "a Windows program",
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] => "a macOS program",
        [0x1f, 0x8b, ..] => "a gzip archive",
        [b'#', b'!', ..] => "a script",
        _ if bytes.get(257..262) == Some(b"ustar") => "a tar archive",
        _ if bytes.trim_ascii_start().starts_with(b"(") => "WebAssembly text",
        _ => "a file of another kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";
    const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn module_and_component_are_told_apart() {
        assert_eq!(Contents::read(EMPTY_MODULE).unwrap().kind, Kind::Module);
        assert_eq!(
            Contents::read(EMPTY_COMPONENT).unwrap().kind,
            Kind::Component
        );
    }

    #[test]
    fn imports_and_exports_of_a_module_are_listed() {
        let wasm = [
            EMPTY_MODULE,
            // type section: one () -> ()
            &[1, 4, 1, 0x60, 0, 0],
            // import section: env.f, a function of type 0
            &[2, 9, 1, 3, b'e', b'n', b'v', 1, b'f', 0, 0],
            // export section: _start = function 0
            &[7, 10, 1, 6, b'_', b's', b't', b'a', b'r', b't', 0, 0],
        ]
        .concat();
        let contents = Contents::read(&wasm).unwrap();
        assert_eq!(contents.imports, ["env.f"]);
        assert_eq!(contents.exports, ["_start"]);
    }

    #[test]
    fn other_files_are_named() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (bytes, expect) in [
            (&b""[..], "an empty file"),
            (b"\x7fELF\x02\x01", "a Linux program"),
            (b"#!/bin/sh", "a script"),
            (b"  (component)", "WebAssembly text"),
            (b"\x1f\x8b\x08", "a gzip archive"),
            (&tar, "a tar archive"),
            (b"hello", "a file of another kind"),
            (b"\0asm\x01\0\0", "a damaged Wasm binary"),
            (b"\0asm\x01\0\0\0\x01\xff", "a damaged Wasm binary"),
        ] {
            let error = Contents::read(bytes).unwrap_err().to_string();
            assert!(error.contains(expect), "{bytes:?}: {error}");
        }
    }
}
