//! What a file is and what it wants, read from the binary itself; no engine needed.

use crate::error::ImageError;
use std::collections::HashSet;
use wasmparser::{ComponentExternName, Encoding, Parser, Payload};

/// What kind of Wasm binary a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageKind {
    /// A component (WASI 0.2 and later).
    Component,
    /// A core module (WASI 0.1).
    Module,
}

/// What a Wasm binary says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Component or module.
    pub kind: ImageKind,
    /// What it needs, in the file's order without repeats: `ns:pkg/interface@version` for a
    /// component, `module.name` for a core module.
    pub imports: Vec<String>,
    /// What it offers, in the file's order.
    pub exports: Vec<String>,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// Entries deeper than this are not looked at: only the outermost component's imports and exports
/// matter, and the parser must not be led down a hole.
const NESTING_MAX: usize = 100;

/// Reads the imports and exports of a Wasm binary.
///
/// # Errors
/// [`ImageError::NotWasm`] names what the file is instead; [`ImageError::Malformed`] says where it
/// breaks. Function bodies are not checked here, they are when the image is compiled.
pub fn inspect(wasm: &[u8]) -> Result<ImageInfo, ImageError> {
    if !wasm.starts_with(b"\0asm") {
        return Err(not_wasm(wasm));
    }
    let mut kind = None;
    let mut imports = Vec::new();
    let mut exports = Vec::new();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(malformed)? {
            Payload::Version { encoding, .. } => {
                kind.get_or_insert(match encoding {
                    Encoding::Component => ImageKind::Component,
                    Encoding::Module => ImageKind::Module,
                });
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                depth += 1;
                if depth > NESTING_MAX {
                    return Err(ImageError::Malformed {
                        reason: format!("components nested more than {NESTING_MAX} deep"),
                    });
                }
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ImportSection(section) if depth == 0 => {
                for import in section.into_imports() {
                    let import = import.map_err(malformed)?;
                    imports.push(format!("{}.{}", import.module, import.name));
                }
            }
            Payload::ExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(malformed)?.name.to_owned());
                }
            }
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import.map_err(malformed)?;
                    // A type import only names a type of an interface that is imported too.
                    if !matches!(import.ty, wasmparser::ComponentTypeRef::Type(_)) {
                        imports.push(component_name(&import.name));
                    }
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(component_name(&export.map_err(malformed)?.name));
                }
            }
            _ => {}
        }
    }
    let mut seen = HashSet::new();
    imports.retain(|name: &String| seen.insert(name.clone()));
    Ok(ImageInfo {
        kind: kind.ok_or_else(|| ImageError::Malformed {
            reason: "it ends before its header does".to_owned(),
        })?,
        imports,
        exports,
        size_bytes: wasm.len() as u64,
    })
}

fn component_name(name: &ComponentExternName<'_>) -> String {
    name.name.to_owned()
}

fn malformed(error: wasmparser::BinaryReaderError) -> ImageError {
    ImageError::Malformed {
        reason: format!("{} (at byte {})", error.message(), error.offset()),
    }
}

/// Names what a file is that is not Wasm, from its first bytes.
fn not_wasm(bytes: &[u8]) -> ImageError {
    const BUILD: &str = "; build it for the target wasm32-wasip2 or wasm32-wasip1";
    const UNPACK: &str = "; push the .wasm file that is in it";
    let is_tar = bytes.get(257..262) == Some(b"ustar".as_slice());
    let (what, advice) = match bytes {
        [] => ("an empty file".to_owned(), ""),
        [0x7f, b'E', b'L', b'F', ..] => (
            "a Linux (ELF) program".to_owned(),
            "; this node runs WebAssembly only: build it for the target wasm32-wasip2 or wasm32-wasip1",
        ),
        [b'M', b'Z', ..] => ("a Windows program".to_owned(), BUILD),
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => {
            ("a macOS program (or a Java class)".to_owned(), BUILD)
        }
        [b'#', b'!', ..] => ("a script".to_owned(), BUILD),
        [0x1f, 0x8b, ..] => (
            "a gzip archive, as the layers of Linux container images are".to_owned(),
            UNPACK,
        ),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("a zstd archive".to_owned(), UNPACK),
        [b'P', b'K', 3, 4, ..] => ("a zip archive".to_owned(), UNPACK),
        _ if is_tar => (
            "a tar archive, as the layers of Linux container images are".to_owned(),
            UNPACK,
        ),
        _ if looks_like_wat(bytes) => (
            "WebAssembly text".to_owned(),
            "; translate it first (wasm-tools parse)",
        ),
        _ if looks_like_json(bytes) => ("JSON".to_owned(), BUILD),
        _ => {
            let head: Vec<String> = bytes.iter().take(4).map(|b| format!("{b:02x}")).collect();
            (format!("a file that begins with {}", head.join(" ")), BUILD)
        }
    };
    ImageError::NotWasm { what, advice }
}

fn first_text_byte(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|b| !b.is_ascii_whitespace())
}

fn looks_like_wat(bytes: &[u8]) -> bool {
    first_text_byte(bytes).is_some_and(|at| {
        let text = &bytes[at..];
        text.starts_with(b"(module") || text.starts_with(b"(component") || text.starts_with(b";;")
    })
}

fn looks_like_json(bytes: &[u8]) -> bool {
    first_text_byte(bytes).is_some_and(|at| matches!(bytes[at], b'{' | b'['))
        && std::str::from_utf8(&bytes[..bytes.len().min(64)]).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_wasm_is_named() {
        let mut tar = vec![b'a'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (bytes, expect) in [
            (&b""[..], "an empty file"),
            (b"\x7fELF\x02\x01\x01\0rest", "a Linux (ELF) program"),
            (b"MZ\x90\0", "a Windows program"),
            (b"\xcf\xfa\xed\xfe\0", "a macOS program"),
            (b"#!/bin/sh\n", "a script"),
            (b"\x1f\x8b\x08\0", "a gzip archive"),
            (b"\x28\xb5\x2f\xfd", "a zstd archive"),
            (b"PK\x03\x04", "a zip archive"),
            (&tar, "a tar archive"),
            (b"  (module)", "WebAssembly text"),
            (b";; c\n(component)", "WebAssembly text"),
            (br#"{"schemaVersion": 2}"#, "JSON"),
            (b"\0as", "a file that begins with 00 61 73"),
            (
                b"\xff\xfe\xfd\xfc\xfb",
                "a file that begins with ff fe fd fc",
            ),
        ] {
            let error = inspect(bytes).expect_err(expect);
            assert!(matches!(error, ImageError::NotWasm { .. }), "{error:?}");
            let text = error.to_string();
            assert!(
                text.contains(expect),
                "{text:?} does not contain {expect:?}"
            );
        }
    }

    #[test]
    fn every_prefix_of_a_binary_is_refused_or_read_but_never_panics() {
        let wasm = wat::parse_str(
            r#"(component
                (import "acme:db/query@1.0.0" (instance))
                (core module $m (func (export "f") nop) (memory 1)))"#,
        )
        .expect("a component");
        for cut in 0..wasm.len() {
            // A cut between sections leaves a shorter valid binary.
            if let Ok(info) = inspect(&wasm[..cut]) {
                assert!(info.exports.is_empty());
            }
        }
        for at in 8..wasm.len() {
            let mut broken = wasm.clone();
            broken[at] ^= 0xff;
            let _ = inspect(&broken);
        }
    }

    #[test]
    fn imports_and_exports_are_those_of_the_outermost_level() {
        for (text, kind, imports, exports) in [
            (
                r#"(module
                    (import "env" "a" (func)) (import "env" "a" (func)) (import "b" "c" (memory 1))
                    (func (export "_start")) (func (export "other")))"#,
                ImageKind::Module,
                &["env.a", "b.c"][..],
                &["_start", "other"][..],
            ),
            (
                r#"(component
                    (import "a:b/c@1.0.0" (instance))
                    (import "f" (func))
                    (core module (import "inner" "x" (func)) (func (export "y")))
                    (component (import "deep:er/d@1.0.0" (instance)))
                    (instance $i)
                    (export "d:e/f@0.2.0" (instance $i)))"#,
                ImageKind::Component,
                &["a:b/c@1.0.0", "f"],
                &["d:e/f@0.2.0"],
            ),
            ("(module)", ImageKind::Module, &[], &[]),
        ] {
            let wasm = wat::parse_str(text).expect(text);
            let info = inspect(&wasm).expect(text);
            assert_eq!(info.kind, kind, "{text}");
            assert_eq!(info.imports, imports, "{text}");
            assert_eq!(info.exports, exports, "{text}");
            assert_eq!(info.size_bytes, wasm.len() as u64);
        }
    }
}
