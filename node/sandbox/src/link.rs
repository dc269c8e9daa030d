//! What guests may import: the host functions, linked once per process.

use crate::error::{ImageError, SandboxError, wasmtime_chain};
use crate::inspect::{ImageInfo, ImageKind};
use crate::state::{Guest, HasProgram, ModuleGuest, ProgramView};
use wasmtime::{Engine, Linker, component};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::cli::environment;

/// Interfaces that components may import, at any 0.2 version. A test holds this list against the
/// linker.
const INTERFACES: [&str; 29] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// The module that WASI 0.1 guests import from.
const WASI_P1: &str = "wasi_snapshot_preview1";

pub(crate) struct Linkers {
    pub(crate) component: component::Linker<Guest>,
    pub(crate) module: Linker<ModuleGuest>,
}

impl Linkers {
    pub(crate) fn new(engine: &Engine) -> Result<Self, SandboxError> {
        Self::build(engine).map_err(|error| SandboxError::Engine {
            reason: format!("linking the host functions: {}", wasmtime_chain(&error)),
        })
    }

    fn build(engine: &Engine) -> wasmtime::Result<Self> {
        let mut component = component::Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut component)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut component)?;
        // The environment comes from the container's shared copy, not from a copy per sandbox.
        component.allow_shadowing(true);
        environment::add_to_linker::<Guest, HasProgram>(&mut component, |guest| {
            ProgramView(&guest.program)
        })?;
        component.allow_shadowing(false);

        let mut module = Linker::new(engine);
        wasmtime_wasi::p1::add_to_linker_async(&mut module, |guest: &mut ModuleGuest| {
            &mut guest.wasi
        })?;
        // wasmtime traps upon codes above 125, which its own command line has no use for. A
        // container may end with any: 137 and 143 are the most common of all.
        module.allow_shadowing(true);
        module.func_wrap(WASI_P1, "proc_exit", |code: i32| -> wasmtime::Result<()> {
            Err(I32Exit(code).into())
        })?;
        module.allow_shadowing(false);
        Ok(Self { component, module })
    }
}

/// Checks that the node provides whatever the image imports.
///
/// # Errors
/// [`ImageError::UnknownImports`] with all that it does not.
pub(crate) fn check_imports(info: &ImageInfo) -> Result<(), ImageError> {
    let unknown: Vec<String> = info
        .imports
        .iter()
        .filter(|import| !provides(info.kind, import))
        .cloned()
        .collect();
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(ImageError::UnknownImports { imports: unknown })
    }
}

fn provides(kind: ImageKind, import: &str) -> bool {
    match kind {
        ImageKind::Component => is_0_2(import).is_some_and(|name| INTERFACES.contains(&name)),
        ImageKind::Module => import
            .split_once('.')
            .is_some_and(|(module, name)| module == WASI_P1 && P1_FUNCTIONS.contains(&name)),
    }
}

/// The interface's name if its version is a released 0.2. All of them are compatible: later ones
/// only add.
pub(crate) fn is_0_2(name: &str) -> Option<&str> {
    let (interface, version) = name.split_once('@')?;
    let patch = version.strip_prefix("0.2.")?;
    patch.parse::<u32>().ok().map(|_| interface)
}

/// The functions of WASI 0.1.
const P1_FUNCTIONS: [&str; 46] = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_seek",
    "fd_sync",
    "fd_tell",
    "fd_write",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "poll_oneoff",
    "proc_exit",
    "proc_raise",
    "random_get",
    "sched_yield",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Limits, MemoryAccount};
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use wasmtime::component::Component;

    /// Whether the linker knows the name: a function is asked for where it has an interface, and
    /// the refusal tells the two apart.
    fn linked(linkers: &Linkers, engine: &Engine, import: &str) -> bool {
        let text = format!("(component (import \"{import}\" (func)))");
        let wasm = wat::parse_str(text).expect("a component");
        let component = Component::new(engine, wasm).expect("compiles");
        let error = match linkers.component.instantiate_pre(&component) {
            Ok(_) => panic!("{import} is a function"),
            Err(error) => wasmtime_chain(&error),
        };
        match (
            error.contains("expected function found instance"),
            error.contains("implementation is missing"),
        ) {
            (true, false) => true,
            (false, true) => false,
            _ => panic!("{import}: {error}"),
        }
    }

    #[test]
    fn the_linker_has_every_interface_of_the_list() {
        let engine = Engine::default();
        let linkers = Linkers::new(&engine).expect("linkers");
        for interface in INTERFACES {
            for version in ["0.2.0", "0.2.3", "0.2.12"] {
                let import = format!("{interface}@{version}");
                assert!(provides(ImageKind::Component, &import), "{import}");
                assert!(linked(&linkers, &engine, &import), "{import}");
            }
        }
        for import in ["acme:db/query@0.2.0", "wasi:cli/environment@0.3.0"] {
            assert!(!provides(ImageKind::Component, import), "{import}");
            assert!(!linked(&linkers, &engine, import), "{import}");
        }
    }

    #[test]
    fn the_functions_of_wasi_0_1_are_those_of_the_linker() {
        let engine = Engine::default();
        let linkers = Linkers::new(&engine).expect("linkers");
        let account = || Arc::new(MemoryAccount::new(None));
        let guest = ModuleGuest::for_tests(Limits::new(account(), account()));
        let mut store = wasmtime::Store::new(&engine, guest);
        let linked: BTreeSet<String> = linkers
            .module
            .iter(&mut store)
            .map(|(module, name, _)| {
                assert_eq!(module, WASI_P1);
                name.to_owned()
            })
            .collect();
        let listed = P1_FUNCTIONS.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(linked, listed);
    }

    #[test]
    fn only_released_0_2_versions_are_provided() {
        for (import, expect) in [
            ("wasi:cli/environment@0.2.0", true),
            ("wasi:cli/environment@0.2.99", true),
            ("wasi:cli/environment@0.2.0-rc-2023-11-10", false),
            ("wasi:cli/environment@0.3.0", false),
            ("wasi:cli/environment", false),
            ("wasi:cli/environment@", false),
            ("acme:db/query@0.2.0", false),
            ("environment@0.2.0", false),
        ] {
            assert_eq!(provides(ImageKind::Component, import), expect, "{import}");
        }
        for (import, expect) in [
            ("wasi_snapshot_preview1.fd_write", true),
            ("wasi_snapshot_preview1.fd_wrote", false),
            ("wasi_unstable.fd_write", false),
            ("env.printf", false),
        ] {
            assert_eq!(provides(ImageKind::Module, import), expect, "{import}");
        }
    }
}
