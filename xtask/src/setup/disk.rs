//! Room for the build products: a linker that meets a full disk only says that it was killed. Frees nothing itself.

use anyhow::{Result, bail};

use crate::command::{answer, command};
use crate::project::Project;

/// What the tests of everything build from nothing, in GB; measured at 8.4.
const WHOLE_BUILD_GB: f64 = 10.0;

/// What a build needs at least when all is there already, in GB.
const REBUILD_GB: f64 = 2.0;

/// Fails where the disk of the target folder has too little room; a system without `df` is not asked.
pub(crate) fn room(project: &Project) -> Result<()> {
    let place = project.target.ancestors().find(|folder| folder.is_dir()).unwrap_or(&project.root);
    let listing = answer(command("df", &project.root).arg("-Pk").arg(place));
    let Some(free_gb) = listing.as_deref().and_then(free_gb) else {
        println!("skipped: 1 check (how much room is left is not known on this system)");
        return Ok(());
    };
    // Explorer and window are built after everything else was once.
    let was_built = project.target.join("app").is_dir();
    let needed_gb = if was_built { REBUILD_GB } else { WHOLE_BUILD_GB };
    if free_gb < needed_gb {
        bail!(
            "{free_gb:.1} GB are free on the disk of {}, and a build needs {needed_gb} GB; free some room, or name a folder \
             on another disk in CARGO_TARGET_DIR",
            project.target.display()
        );
    }
    println!("found: {free_gb:.1} GB free");
    Ok(())
}

/// Free gigabytes in the listing of one file system by POSIX `df -Pk`.
fn free_gb(listing: &str) -> Option<f64> {
    let kib: f64 = listing.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(kib * 1024.0 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fourth_column_is_what_is_free() {
        let listing =
            "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda 263174212 67108864 48828125 59% /";
        assert_eq!(free_gb(listing), Some(50.0));
        for odd in ["", "Filesystem", "Filesystem Available\n/dev/vda x y z", "a b c d\n1 2 3"] {
            assert_eq!(free_gb(odd), None, "{odd}");
        }
    }
}
