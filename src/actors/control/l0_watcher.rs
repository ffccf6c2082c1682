//! L0Watcher: follows the ready flag of the upstream history pipeline.
//!
//! owns   the folder's inotify watch, the poll timer, the last sighting that Root was sent
//! hears  LookAtFlag (Root) · changes of the folder · its own poll, also for network mounts, which report no changes
//! says   Report::Flag → Root, when the sighting changes or when Root asks
//! fails  never on what it finds: every case is a named sighting. Without a watch it polls. A panic restarts it; it then checks and reports
//!        again

use crate::actors::messages::{LookAtFlag, Report};
use crate::actors::repeat::RepeatEvery;
use crate::actors::services::Services;
use crate::domain::calendar::Calendar;
use crate::domain::history::{Found, GateWindow, Sighting, l0};
use crate::domain::model::{Sessions, Timestamp};
use crate::limits;
use actix::prelude::*;
use futures_util::stream;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{Notify, watch};

/// The file name of the ready flag.
pub const FLAG_NAME: &str = "l0_ready.flag";

/// Identifies a folder, so that a replaced folder is noticed; inode numbers alone are reused.
type FolderId = (u64, u64, Option<SystemTime>);

/// The dependencies of a watcher; they outlive its restarts.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The services that every actor may use.
    pub services: Services,
    /// Setting `READY_SIGNALS_DIR`; created if it does not exist.
    pub folder: PathBuf,
    /// The calendar whose sessions bound the gate window; watched, because it may be corrected.
    pub calendar: watch::Receiver<Calendar>,
}

/// See the module.
#[derive(Debug)]
pub struct L0Watcher {
    deps: Deps,
    told: Option<Sighting>,
    watching: Option<(FolderId, RecommendedWatcher)>,
    changed: Arc<Notify>,
    looking: bool,
    /// Check again when the present check is over; with `true`, report the result even if unchanged.
    again: Option<bool>,
}

impl L0Watcher {
    /// A watcher that checks as soon as it runs.
    pub fn new(deps: Deps) -> Self {
        Self {
            deps,
            told: None,
            watching: None,
            changed: Arc::new(Notify::new()),
            looking: false,
            again: None,
        }
    }

    /// Reads the flag on a thread that may block: a network mount can hang. One check at a time.
    fn read_flag(&mut self, tell: bool, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.looking, true) {
            self.again = Some(tell || self.again.unwrap_or(false));
            return;
        }
        let folder = self.deps.folder.clone();
        let look = tokio::time::timeout(limits::FLAG_LOOK, tokio::task::spawn_blocking(move || find(&folder)));
        let look = look.into_actor(self).map(move |found, actor, ctx| {
            let (found, folder) = match found {
                Ok(Ok(seen)) => seen,
                Ok(Err(error)) => (Found::Failed(error.to_string()), None),
                Err(_) => (Found::Failed("the file system does not answer".to_owned()), None),
            };
            actor.looking = false;
            actor.rewatch(folder);
            actor.judge(&found, tell, ctx);
            if let Some(tell) = actor.again.take() {
                actor.read_flag(tell, ctx);
            }
        });
        ctx.spawn(look);
    }

    fn judge(&mut self, found: &Found, tell: bool, ctx: &mut Context<Self>) {
        let now = self.deps.services.clock.now();
        let window = gate_window(&self.deps.calendar.borrow(), now);
        let sighting = l0::judge(found, window, now);
        if let Some(at) = sighting.as_ref().err().and_then(|trouble| trouble.look_again_at(now)) {
            ctx.run_later(self.deps.services.clock.until(at), |actor, ctx| {
                actor.read_flag(false, ctx);
            });
        }
        if tell || self.told.as_ref() != Some(&sighting) {
            self.told = Some(sighting.clone());
            let told = self.deps.services.root.send(Report::Flag(sighting));
            ctx.wait(told.into_actor(self).map(|_, _, _| ()));
        }
    }

    /// Watches the folder that exists now, also after it was replaced by another.
    fn rewatch(&mut self, folder: Option<FolderId>) {
        if self.watching.as_ref().map(|(id, _)| *id) == folder {
            return;
        }
        let changed = Arc::clone(&self.changed);
        let watcher = notify::recommended_watcher(move |event| {
            if !only_read(&event) {
                changed.notify_one();
            }
        })
        .and_then(|mut watcher| {
            watcher.watch(&self.deps.folder, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        self.watching = match (folder, watcher) {
            (Some(id), Ok(watcher)) => Some((id, watcher)),
            (Some(_), Err(error)) => {
                tracing::warn!(folder = %self.deps.folder.display(), %error, "the flag's folder cannot be watched: polling only");
                None
            }
            (None, _) => None,
        };
        self.changed.notify_one(); // catches changes between the look and the watch
    }
}

/// Whether the event is only a read: otherwise each check of ours would trigger the next.
fn only_read(event: &notify::Result<notify::Event>) -> bool {
    let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
    event
        .as_ref()
        .is_ok_and(|event| event.kind.is_access() && event.kind != written)
}

/// The gate window of an instant: from the close of the last session; the dates of that and of the coming session.
pub fn gate_window(calendar: &Calendar, now: Timestamp) -> GateWindow {
    let previous = calendar.before(now);
    let coming = calendar.at(now).or_else(|| calendar.after(now));
    GateWindow {
        since: previous.map(|session| session.closes),
        dates: previous
            .zip(coming)
            .map(|(previous, coming)| (previous.date, coming.date)),
    }
}

/// Reads the flag's path and identifies its folder. Creates the folder.
fn find(folder: &Path) -> (Found, Option<FolderId>) {
    let made = fs::create_dir_all(folder).and_then(|()| fs::metadata(folder));
    match made {
        Ok(meta) => (
            find_file(&folder.join(FLAG_NAME)),
            Some((meta.dev(), meta.ino(), meta.created().ok())),
        ),
        Err(error) => (refused(&error), None),
    }
}

fn find_file(path: &Path) -> Found {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(_) if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink()) => return Found::DanglingLink,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
        Err(error) => return refused(&error),
    };
    if meta.is_dir() {
        return Found::Folder;
    }
    if !meta.is_file() {
        return Found::Special; // opening a pipe would wait for its writer
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(limits::FLAG_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    match (read, meta.modified()) {
        (Ok(_), Ok(modified)) => Found::File {
            bytes,
            modified: Timestamp::from_datetime::<chrono::Utc>(modified.into()),
        },
        (Err(error), _) | (_, Err(error)) => refused(&error),
    }
}

fn refused(error: &io::Error) -> Found {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Found::Denied,
        _ => Found::Failed(error.to_string()),
    }
}

impl Actor for L0Watcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let changes = stream::unfold(Arc::clone(&self.changed), |changed| async move {
            changed.notified().await;
            Some((Changed, changed))
        });
        ctx.add_stream(changes);
        ctx.repeat_every(self.deps.services.clock.real(limits::FLAG_POLL), |actor, ctx| {
            actor.read_flag(false, ctx);
        });
        self.read_flag(true, ctx);
    }
}

impl Supervised for L0Watcher {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone());
    }
}

/// The folder changed.
#[derive(Debug)]
struct Changed;

impl StreamHandler<Changed> for L0Watcher {
    fn handle(&mut self, _: Changed, ctx: &mut Context<Self>) {
        self.read_flag(false, ctx);
    }
}

impl Handler<LookAtFlag> for L0Watcher {
    type Result = ();

    fn handle(&mut self, _: LookAtFlag, ctx: &mut Context<Self>) {
        self.read_flag(true, ctx);
    }
}

#[cfg(test)]
#[path = "tests/l0_watcher.rs"]
mod tests;
