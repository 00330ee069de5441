//! What the commands share: settings, the program, the workspace that is followed, and programs that were started. Every
//! lock is held for a moment only.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::commands::log_file;
use crate::error::ShellError;
use crate::follow::StopFollowing;
use crate::program::{Program, Service};
use crate::settings::Settings;

/// The state of the window.
#[derive(Debug)]
pub struct Shell {
    settings_file: PathBuf,
    settings: Mutex<Settings>,
    program: Result<Program, ShellError>,
    followed: Mutex<Option<(PathBuf, StopFollowing)>>,
    opened: Mutex<Option<PathBuf>>,
    service: Mutex<Option<Service>>,
}

impl Shell {
    /// With the settings of a file and the program that is found.
    pub fn new(settings_file: PathBuf) -> Self {
        Self::with_program(settings_file, Program::find())
    }

    /// With a program that is given; for tests.
    pub fn with_program(settings_file: PathBuf, program: Result<Program, ShellError>) -> Self {
        let settings = Mutex::new(Settings::load(&settings_file));
        let (followed, opened, service) = (Mutex::new(None), Mutex::new(None), Mutex::new(None));
        Self { settings_file, settings, program, followed, opened, service }
    }

    /// The settings as they are.
    pub fn settings(&self) -> Settings {
        held(&self.settings).clone()
    }

    /// Changes the settings and writes them.
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) -> Result<Settings, ShellError> {
        let mut settings = held(&self.settings);
        change(&mut settings);
        settings.save(&self.settings_file)?;
        Ok(settings.clone())
    }

    /// The program, on the network only where the person opened it.
    pub fn program(&self) -> Result<Program, ShellError> {
        let mut program = self.program.clone()?;
        program.set_offline(self.settings().offline);
        Ok(program)
    }

    /// Where new workspaces go where the environment says so.
    pub fn workspaces_folder(&self) -> Option<PathBuf> {
        std::env::var_os("TREX_WORKSPACES").filter(|folder| !folder.is_empty()).map(PathBuf::from)
    }

    /// Keeps what the window was started with until the page asks for it.
    pub fn set_opened(&self, path: PathBuf) {
        *held(&self.opened) = Some(path);
    }

    /// What the window was started with, once.
    pub fn take_opened(&self) -> Option<PathBuf> {
        held(&self.opened).take()
    }

    /// Follows another workspace, and no longer the one before.
    pub fn follow_instead(&self, folder: &Path) -> StopFollowing {
        let stop = StopFollowing::default();
        let before = held(&self.followed).replace((folder.to_owned(), stop.clone()));
        if let Some((_, before)) = before {
            before.stop();
        }
        stop
    }

    /// The workspace that is shown.
    pub fn followed(&self) -> Option<PathBuf> {
        held(&self.followed).as_ref().map(|(folder, _)| folder.clone())
    }

    /// Starts a run that outlives the window.
    pub fn start(&self, folder: &Path, arguments: &[OsString]) -> Result<(), ShellError> {
        let command = arguments.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        self.start_with_log(arguments, &log_file(folder, &command))
    }

    /// Starts what works the queue off, which outlives the window, too.
    pub fn start_queue(&self, arguments: &[OsString]) -> Result<(), ShellError> {
        self.start_with_log(arguments, &self.settings_file.with_file_name("queue.log"))
    }

    /// Starts a service that ends with the window, in the place of the one before, and returns what it says of itself.
    pub fn serve(&self, arguments: &[OsString]) -> Result<Value, ShellError> {
        let mut service = held(&self.service);
        // The one before holds the port.
        *service = None;
        let started = self.program()?.start_service(arguments)?;
        let said = started.said().clone();
        *service = Some(started);
        Ok(said)
    }

    /// Ends the service.
    pub fn serve_no_more(&self) {
        *held(&self.service) = None;
    }

    /// What the service says of itself while it runs.
    pub fn served(&self) -> Option<Value> {
        let mut service = held(&self.service);
        if service.as_mut().is_some_and(Service::has_ended) {
            *service = None;
        }
        service.as_ref().map(|service| service.said().clone())
    }

    fn start_with_log(&self, arguments: &[OsString], log: &Path) -> Result<(), ShellError> {
        let mut child = self.program()?.start_detached(arguments, log)?;
        // Waited for, so that it does not stay as a dead entry in the list of processes while the window is open.
        let wait = move || child.wait().map(drop);
        let thread = std::thread::Builder::new().name("wait".to_owned());
        thread.spawn(wait).map(drop).map_err(|err| ShellError::window("cannot wait for the run", &err))
    }
}

/// A thread that panicked while it held the lock has changed nothing half: every change is one assignment.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
