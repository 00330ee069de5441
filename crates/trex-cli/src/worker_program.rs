//! Which program runs the jobs: this one, or a build for NVIDIA cards that lies beside it.
//!
//! A program that is linked with CUDA does not even start where the driver's libraries are missing, so it cannot be the
//! one that people start. Looks at names only: whether the other program works shows when it is started.

use std::path::{Path, PathBuf};

use trex_domain::{DeviceChoice, Hardware};
use trex_train::DeviceBuild;

use crate::error::CommandError;

/// What a build for NVIDIA cards is called beside `trex`.
pub(crate) const CUDA_WORKER: &str = "trex-worker-cuda";

/// The program of the workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkerProgram {
    pub(crate) path: PathBuf,
    /// Why this one.
    pub(crate) why: String,
}

/// What decides.
pub(crate) struct Circumstances<'a> {
    /// Device that is wished for.
    pub(crate) choice: DeviceChoice,
    /// What `TREX_WORKER` names.
    pub(crate) named: Option<PathBuf>,
    /// This program.
    pub(crate) this: &'a Path,
    /// What this program can use itself.
    pub(crate) build: DeviceBuild,
    /// Whether a file is there.
    pub(crate) is_file: &'a dyn Fn(&Path) -> bool,
    /// Looks at the machine; only asked where that decides.
    pub(crate) hardware: &'a dyn Fn() -> Hardware,
}

/// Chooses the program.
pub(crate) fn choose(circumstances: &Circumstances<'_>) -> Result<WorkerProgram, CommandError> {
    let Circumstances { choice, named, this, build, is_file, hardware } = circumstances;
    if let Some(path) = named {
        if !is_file(path) {
            return Err(CommandError::NoWorker { path: path.clone() });
        }
        return Ok(WorkerProgram { path: path.clone(), why: "TREX_WORKER names it".to_owned() });
    }
    let itself = |why: &str| WorkerProgram { path: this.to_path_buf(), why: why.to_owned() };
    if build.cuda || matches!(choice, DeviceChoice::Cpu | DeviceChoice::Metal) {
        return Ok(itself("this program does it itself"));
    }
    let beside = this.with_file_name(format!("{CUDA_WORKER}{}", std::env::consts::EXE_SUFFIX));
    if !is_file(&beside) {
        return Ok(itself(&format!("there is no {CUDA_WORKER} beside it")));
    }
    if let DeviceChoice::Cuda(_) = choice {
        return Ok(WorkerProgram { path: beside, why: format!("{choice} was asked for") });
    }
    let nvidia = hardware().nvidia;
    match (nvidia.driver, nvidia.cards.first()) {
        (Some(driver), Some(card)) => {
            Ok(WorkerProgram { path: beside, why: format!("{}, driver {driver}", card.name) })
        }
        _ => Ok(itself(&format!("{CUDA_WORKER} is there, and no NVIDIA driver that lists a card"))),
    }
}

#[cfg(test)]
mod tests {
    use trex_domain::{Nvidia, NvidiaCard, Problem as _};

    use super::*;

    const HERE: &str = "/opt/trex/trex";

    fn beside() -> PathBuf {
        Path::new(HERE).with_file_name(format!("{CUDA_WORKER}{}", std::env::consts::EXE_SUFFIX))
    }

    fn with_card() -> Hardware {
        let card = NvidiaCard { number: 0, name: "NVIDIA L4".into(), memory_bytes: None, compute_capability: None };
        Hardware {
            nvidia: Nvidia { driver: Some("550.90.07".into()), cards: vec![card], trouble: None },
            ..Hardware::default()
        }
    }

    /// Whether this program was built with CUDA, whether the other lies beside it, whether the machine has a card.
    #[track_caller]
    fn check(choice: &str, [cuda, is_beside, has_card]: [bool; 3], expected: &Path) {
        let found = choose(&Circumstances {
            choice: choice.parse().unwrap(),
            named: None,
            this: Path::new(HERE),
            build: DeviceBuild { cuda, metal: false },
            is_file: &|path| is_beside && path == beside(),
            hardware: &|| if has_card { with_card() } else { Hardware::default() },
        });
        assert_eq!(found.unwrap().path, expected);
    }

    #[test]
    fn the_build_for_cards_is_taken_where_it_is_there_and_helps() {
        let this = Path::new(HERE);
        check("auto", [false, true, true], &beside());
        check("auto", [false, true, false], this);
        check("auto", [false, false, true], this);
        check("auto", [true, true, true], this);
        check("cpu", [false, true, true], this);
        check("metal", [false, true, true], this);
        // Who asks for a card gets the program that says what is wrong with it.
        check("cuda:1", [false, true, false], &beside());
        check("cuda", [false, false, true], this);
    }

    #[test]
    fn a_named_program_is_taken_and_must_be_there() {
        let named = |is_there: bool| {
            choose(&Circumstances {
                choice: DeviceChoice::Cpu,
                named: Some("/elsewhere/worker".into()),
                this: Path::new(HERE),
                build: DeviceBuild { cuda: false, metal: false },
                is_file: &|_| is_there,
                hardware: &Hardware::default,
            })
        };
        assert_eq!(named(true).unwrap().path, Path::new("/elsewhere/worker"));
        assert_eq!(named(false).unwrap_err().code(), "worker.missing");
    }
}
