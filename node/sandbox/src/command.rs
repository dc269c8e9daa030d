//! Running commands: one sandbox from start to exit.

use crate::container::Shared;
use crate::error::StartError;
use crate::exit::Exit;
use crate::image::{Image, Linked};
use crate::meter::Metered;
use crate::runtime::Host;
use crate::state::Limited;
use crate::trap::Failure;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;

/// Room in the pools, held for as long as the command runs.
pub(crate) struct Permits {
    _share: OwnedSemaphorePermit,
    _slots: OwnedSemaphorePermit,
}

/// Takes room for a command, or says that there is none: whoever asked tries again later.
pub(crate) fn permits(host: &Host, image: &Image) -> Result<Permits, StartError> {
    let full = || StartError::Full {
        limit: host.plan_command_slots(),
    };
    let take = |semaphore: &Arc<tokio::sync::Semaphore>| {
        Arc::clone(semaphore).try_acquire_many_owned(image.slots())
    };
    Ok(Permits {
        _share: take(&host.command_slots).map_err(|_| full())?,
        _slots: take(&host.slots).map_err(|_| full())?,
    })
}

/// Starts the command; its end is told through [`Shared::conclude`].
pub(crate) fn spawn(shared: &Arc<Shared>, permits: Permits) {
    let token = shared.guests.token();
    let task = {
        let shared = Arc::clone(shared);
        async move {
            let exit = {
                let guest = Metered::new(
                    run(Arc::clone(&shared)),
                    Arc::clone(&shared.cpu),
                    shared.host.pulse(),
                );
                tokio::select! {
                    biased;
                    // Dropping the guest unwinds its stack and frees its sandbox.
                    () = shared.kill.cancelled() => None,
                    exit = guest => Some(exit),
                }
            };
            drop(permits);
            drop(token);
            if let Some(exit) = &exit
                && !exit.message.is_empty()
            {
                shared.note(&exit.message);
            }
            shared.conclude(exit);
        }
    };
    shared.host.spawn(task);
}

async fn run(shared: Arc<Shared>) -> Exit {
    match shared.linked() {
        Linked::Component {
            command: Some(pre), ..
        } => {
            let mut store = shared.template.component_store(&shared.host.engine);
            let result = async {
                let command = pre.instantiate_async(&mut store).await?;
                command.wasi_cli_run().call_run(&mut store).await
            }
            .await;
            match result {
                Ok(Ok(())) => Exit::code(0),
                Ok(Err(())) => Exit::code(1),
                Err(error) => failed(&mut store, &error),
            }
        }
        Linked::Component { command: None, .. } => {
            // `start` looked: unreachable, and if not, an honest end.
            Exit::trapped("the image is not a command".to_owned())
        }
        Linked::Module(pre) => {
            let mut store = shared.template.module_store(&shared.host.engine);
            let result = async {
                let instance = pre.instantiate_async(&mut store).await?;
                let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
                start.call_async(&mut store, ()).await
            }
            .await;
            match result {
                Ok(()) => Exit::code(0),
                Err(error) => failed(&mut store, &error),
            }
        }
    }
}

fn failed<T: Limited>(store: &mut Store<T>, error: &wasmtime::Error) -> Exit {
    Failure::of(error, store.data_mut().limits()).into_exit()
}
