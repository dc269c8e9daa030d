//! An image: code that is compiled, mapped and linked, so that a container can start at once.

use crate::code_cache::Code;
use crate::error::{ImageError, wasmtime_chain};
use crate::inspect::{ImageInfo, ImageKind};
use crate::limits::MEMORIES_MAX;
use crate::link::{Linkers, is_0_2};
use crate::state::{Guest, ModuleGuest};
use std::fmt;
use wasmtime::InstancePre;
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

/// The interface of HTTP servers.
const HTTP: &str = "wasi:http/incoming-handler";
/// The interface of commands.
const COMMAND: &str = "wasi:cli/run";
/// The function of core modules that are commands.
const START: &str = "_start";

/// What an image can be run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entries {
    /// It exports `wasi:http/incoming-handler@0.2`.
    pub http: bool,
    /// It exports `wasi:cli/run@0.2`, or is a core module with `_start`.
    pub command: bool,
}

impl Entries {
    /// Reads the entries from the exports.
    pub fn of(info: &ImageInfo) -> Self {
        let exports = |interface| {
            info.exports
                .iter()
                .any(|export| is_0_2(export) == Some(interface))
        };
        match info.kind {
            ImageKind::Component => Self {
                http: exports(HTTP),
                command: exports(COMMAND),
            },
            ImageKind::Module => Self {
                http: false,
                command: info.exports.iter().any(|export| export == START),
            },
        }
    }

    pub(crate) fn describe(self) -> &'static str {
        match (self.http, self.command) {
            (true, true) => "an HTTP server and a command",
            (true, false) => "an HTTP server",
            (false, true) => "a command",
            (false, false) => "a library",
        }
    }
}

/// Code that is ready to run. Made by [`crate::Runtime::prepare`].
pub struct Image {
    info: ImageInfo,
    digest: blake3::Hash,
    entries: Entries,
    memories: u32,
    pub(crate) code: Linked,
}

pub(crate) enum Linked {
    Component {
        http: Option<ProxyPre<Guest>>,
        command: Option<CommandPre<Guest>>,
    },
    Module(InstancePre<ModuleGuest>),
}

impl Image {
    /// Checks what can be checked before compiling: that there is something to run.
    pub(crate) fn check_entries(info: &ImageInfo) -> Result<Entries, ImageError> {
        let entries = Entries::of(info);
        if entries.http || entries.command {
            return Ok(entries);
        }
        let exports = match info.exports.as_slice() {
            [] => "nothing".to_owned(),
            [one] => format!("{one:?} only"),
            [first, rest @ ..] => format!("{first:?} and {} more", rest.len()),
        };
        let reason = match info.kind {
            ImageKind::Component => format!(
                "the component exports {exports}; an HTTP server exports {HTTP}@0.2 and a command \
                 {COMMAND}@0.2"
            ),
            ImageKind::Module => {
                format!("the module exports {exports}; a command exports the function {START}")
            }
        };
        Err(ImageError::NothingToRun { reason })
    }

    pub(crate) fn link(
        linkers: &Linkers,
        code: Code,
        info: ImageInfo,
        digest: blake3::Hash,
    ) -> Result<Self, ImageError> {
        let entries = Self::check_entries(&info)?;
        let incompatible = |error: wasmtime::Error| ImageError::IncompatibleImports {
            reason: wasmtime_chain(&error),
        };
        let compile = |error: wasmtime::Error| ImageError::Compile {
            reason: wasmtime_chain(&error),
        };
        let (code, memories) = match code {
            Code::Component(component) => {
                component
                    .initialize_copy_on_write_image()
                    .map_err(compile)?;
                // Unknown only where a component takes modules from outside, which ours cannot.
                let memories = component
                    .resources_required()
                    .map_or(1, |required| required.num_memories);
                let pre = linkers
                    .component
                    .instantiate_pre(&component)
                    .map_err(incompatible)?;
                let http = entries
                    .http
                    .then(|| ProxyPre::new(pre.clone()))
                    .transpose()
                    .map_err(incompatible)?;
                let command = entries
                    .command
                    .then(|| CommandPre::new(pre))
                    .transpose()
                    .map_err(incompatible)?;
                (Linked::Component { http, command }, memories)
            }
            Code::Module(module) => {
                module.initialize_copy_on_write_image().map_err(compile)?;
                let memories = module.resources_required().num_memories;
                let pre = linkers
                    .module
                    .instantiate_pre(&module)
                    .map_err(incompatible)?;
                (Linked::Module(pre), memories)
            }
        };
        if memories as usize > MEMORIES_MAX {
            return Err(ImageError::TooLarge {
                reason: format!("it has {memories} memories, at most {MEMORIES_MAX} are allowed"),
            });
        }
        Ok(Self {
            info,
            digest,
            entries,
            memories: memories.max(1),
            code,
        })
    }

    /// What the binary says of itself.
    pub fn info(&self) -> &ImageInfo {
        &self.info
    }

    /// What it can be run as.
    pub fn entries(&self) -> Entries {
        self.entries
    }

    /// The BLAKE3 hash of the binary, in hexadecimal: the name that this node caches it under.
    pub fn digest(&self) -> String {
        self.digest.to_hex().to_string()
    }

    /// Pool slots that one sandbox of it takes.
    pub(crate) fn slots(&self) -> u32 {
        self.memories
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("digest", &self.digest.to_hex())
            .field("kind", &self.info.kind)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}
