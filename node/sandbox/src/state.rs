//! What a sandbox holds on the host's side: the data of a wasmtime store.

use crate::limits::{Limits, MemoryAccount};
use crate::outbound::Hooks;
use crate::spec::{Exec, Input, Mount, OutboundHttp, Output, StdStream};
use crate::stdio::Sink;
use crate::{ContainerSpec, StartError};
use std::sync::Arc;
use wasmtime::component::{HasData, ResourceTable};
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::cli::AsyncStdinStream;
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::bindings::cli::environment;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// Bytes of headers that a guest may put into one request or response, as they are kept in memory;
/// wasmtime's default.
const HEADER_BYTES_MAX: usize = 128 << 10;

/// Open files, streams, headers and the like that one sandbox may hold on the host; the next one
/// ends it. Servers hold tens of them, and a guest must not use up the node's file descriptors.
const HANDLES_MAX: usize = 4_096;
/// Random bytes that a guest may ask for in one call; more ends it. Keys and nonces take tens.
const RANDOM_BYTES_MAX: u64 = 1 << 20;

/// Arguments and environment; shared by all sandboxes of a container, copied only when a guest
/// asks for them.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
}

/// A guest's view of it.
pub(crate) struct ProgramView<'a>(pub(crate) &'a Program);

impl environment::Host for ProgramView<'_> {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.0.env.clone())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.0.args.clone())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

/// The environment's place in a [`Guest`], for the linker.
pub(crate) struct HasProgram;

impl HasData for HasProgram {
    type Data<'a> = ProgramView<'a>;
}

/// From which the sandboxes of a container are made. Everything is behind an `Arc` or as cheap, as
/// an HTTP container makes one for every request.
pub(crate) struct Template {
    program: Arc<Program>,
    /// With the mounts opened.
    files: WasiFilesystemCtx,
    input: Input,
    output: Arc<dyn Output>,
    network: Arc<dyn OutboundHttp>,
    container_memory: Arc<MemoryAccount>,
    node_memory: Arc<MemoryAccount>,
}

impl Template {
    /// Opens the mounts.
    ///
    /// # Errors
    /// [`StartError::Mount`] for the first that cannot be opened.
    pub(crate) fn new(
        spec: &mut ContainerSpec,
        container_memory: Arc<MemoryAccount>,
        node_memory: Arc<MemoryAccount>,
    ) -> Result<Self, StartError> {
        Ok(Self {
            program: Arc::new(Program {
                args: std::mem::take(&mut spec.args),
                env: std::mem::take(&mut spec.env),
            }),
            files: open_mounts(&spec.mounts)?,
            input: spec.input.clone(),
            output: Arc::clone(&spec.output),
            network: Arc::clone(&spec.network),
            container_memory,
            node_memory,
        })
    }

    /// The same for another command in the container.
    pub(crate) fn exec(&self, exec: Exec) -> Self {
        Self {
            program: Arc::new(Program {
                args: exec.args,
                env: self.program.env.clone(),
            }),
            files: self.files.clone(),
            input: exec.input,
            output: exec.output,
            network: Arc::clone(&self.network),
            container_memory: Arc::clone(&self.container_memory),
            node_memory: Arc::clone(&self.node_memory),
        }
    }

    /// With the standard streams. Must be called on the threads that run guests, where the task
    /// that reads ahead of the guest belongs.
    fn builder(&self) -> WasiCtxBuilder {
        // Sockets and name lookup are denied by default: a guest that tries gets EACCES.
        let mut builder = WasiCtx::builder();
        builder
            .max_random_size(RANDOM_BYTES_MAX)
            .stdout(Sink::new(&self.output, StdStream::Stdout))
            .stderr(Sink::new(&self.output, StdStream::Stderr));
        if let Some(reader) = self.input.take() {
            builder.stdin(AsyncStdinStream::new(reader));
        }
        builder
    }

    fn wasi(&self) -> WasiCtx {
        let mut wasi = self.builder().build();
        *wasi.filesystem() = self.files.clone();
        wasi
    }

    fn limits(&self) -> Limits {
        Limits::new(
            Arc::clone(&self.container_memory),
            Arc::clone(&self.node_memory),
        )
    }

    /// A new sandbox for a component.
    pub(crate) fn component_store(&self, engine: &Engine) -> Store<Guest> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(HEADER_BYTES_MAX);
        store(
            engine,
            Guest {
                program: Arc::clone(&self.program),
                wasi: self.wasi(),
                http,
                hooks: Hooks::new(&self.network),
                table,
                limits: self.limits(),
            },
        )
    }

    /// A new sandbox for a core module.
    pub(crate) fn module_store(&self, engine: &Engine) -> Store<ModuleGuest> {
        let mut builder = self.builder();
        builder.args(&self.program.args).envs(&self.program.env);
        let mut wasi = builder.build_p1();
        let view = wasi.ctx();
        *view.ctx.filesystem() = self.files.clone();
        view.table.set_max_capacity(HANDLES_MAX);
        store(
            engine,
            ModuleGuest {
                wasi,
                limits: self.limits(),
            },
        )
    }
}

fn open_mounts(mounts: &[Mount]) -> Result<WasiFilesystemCtx, StartError> {
    let mut builder = WasiCtx::builder();
    for mount in mounts {
        let permissions = if mount.read_only {
            FsPerms::ReadOnly
        } else {
            FsPerms::ReadWrite
        };
        builder
            .preopened_dir(&mount.host, &mount.guest, permissions)
            .map_err(|error| StartError::Mount {
                host: mount.host.clone(),
                guest: mount.guest.clone(),
                reason: crate::error::wasmtime_chain(&error),
            })?;
    }
    Ok(std::mem::take(builder.build().filesystem()))
}

/// A store whose guest yields at every tick and stays within its limits.
fn store<T: Limited>(engine: &Engine, data: T) -> Store<T> {
    let mut store = Store::new(engine, data);
    store.limiter(|guest| guest.limits());
    store.set_epoch_deadline(1);
    // tokio's own yield: it lets the worker poll timers and I/O before this guest goes on, which
    // waking ourselves would not.
    store.epoch_deadline_callback(|_| {
        Ok(UpdateDeadline::YieldCustom(
            1,
            Box::pin(tokio::task::yield_now()),
        ))
    });
    store
}

/// Data with limits in it.
pub(crate) trait Limited: Send + 'static {
    fn limits(&mut self) -> &mut Limits;
}

/// A component's sandbox.
pub(crate) struct Guest {
    pub(crate) program: Arc<Program>,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    table: ResourceTable,
    limits: Limits,
}

impl Limited for Guest {
    fn limits(&mut self) -> &mut Limits {
        &mut self.limits
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

/// A core module's sandbox.
pub(crate) struct ModuleGuest {
    pub(crate) wasi: WasiP1Ctx,
    limits: Limits,
}

impl Limited for ModuleGuest {
    fn limits(&mut self) -> &mut Limits {
        &mut self.limits
    }
}

#[cfg(test)]
impl ModuleGuest {
    pub(crate) fn for_tests(limits: Limits) -> Self {
        Self {
            wasi: WasiCtx::builder().build_p1(),
            limits,
        }
    }
}
