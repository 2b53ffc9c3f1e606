//! What is started to take over: the same program with the same arguments, as it lies there now, or another that was named.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How this process was started.
#[derive(Clone, Debug)]
pub struct Program {
    name: OsString,
    /// Where its file was then: afterwards the system calls a file that was replaced deleted.
    file: Option<PathBuf>,
    arguments: Vec<OsString>,
}

impl Program {
    /// This process's; at its start.
    pub fn of_this_process() -> Self {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_default();
        Self { name, file: std::env::current_exe().ok(), arguments: arguments.collect() }
    }

    /// What is started where nothing else is named: the file that the command line names, which may be a link that was turned, or
    /// else the one that this process came from.
    pub fn path(&self) -> PathBuf {
        let named = Path::new(&self.name);
        let found = if named.components().count() > 1 {
            named.exists().then(|| named.to_owned())
        } else {
            let places = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&places).map(|place| place.join(named)).find(|path| is_program(path))
        };
        found.or_else(|| self.file.clone()).unwrap_or_else(|| named.to_owned())
    }

    /// Starts it, with its end of the channel as standard input.
    pub(super) fn start(&self, path: &Path, channel: OwnedFd) -> io::Result<Child> {
        let mut command = Command::new(path);
        command.arg0(&self.name).args(&self.arguments).stdin(Stdio::from(channel)).env(HANDOVER, "stdin");
        for name in OF_THIS_PROCESS {
            command.env_remove(name);
        }
        command.spawn()
    }
}

/// Whether nobody but the superuser and the node's own user can have put this file where it is: then whoever may call the admin
/// listener does not get to run what is his own under the node's name.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn trusted(path: &Path) -> Result<(), String> {
    if !path.is_absolute() {
        return Err(format!("{} is not an absolute path", path.display()));
    }
    let real = path.canonicalize().map_err(|error| format!("cannot use {}: {error}", path.display()))?;
    let us = rustix::process::geteuid().as_raw();
    for part in real.ancestors() {
        let about = part.metadata().map_err(|error| format!("cannot use {}: {error}", part.display()))?;
        // In a sticky directory nobody replaces what is another's.
        let is_sticky = about.is_dir() && about.mode() & 0o1000 != 0;
        if about.uid() != 0 && about.uid() != us {
            return Err(format!("{} belongs to another user than root and the node's own", part.display()));
        }
        if about.mode() & 0o022 != 0 && !is_sticky {
            return Err(format!("{} can be written by other users: chmod go-w", part.display()));
        }
    }
    if is_program(&real) { Ok(()) } else { Err(format!("{} is not a program", path.display())) }
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// Tells a process that it is to take over, and where it hears of it.
pub(super) const HANDOVER: &str = "TIDEGATE_HANDOVER";
/// What a service manager said to this process alone.
const OF_THIS_PROCESS: [&str; 4] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_others_can_replace_is_not_trusted() {
        let place = std::env::temp_dir().join(format!("tidegate-program-{}", std::process::id()));
        std::fs::create_dir_all(&place).expect("a directory");
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
        };
        let program = place.join("tidegate");
        std::fs::write(&program, "#!/bin/sh\n").expect("written");
        for (claim, directory, file, expected) in [
            ("ours alone", 0o755, 0o755, None),
            ("others write the file", 0o755, 0o757, Some("chmod go-w")),
            ("a group writes the directory", 0o775, 0o755, Some("chmod go-w")),
            ("it is no program", 0o755, 0o644, Some("not a program")),
        ] {
            set(&place, directory);
            set(&program, file);
            let got = trusted(&program);
            match expected {
                None => assert_eq!(got, Ok(()), "{claim}"),
                Some(why) => assert!(got.as_ref().is_err_and(|got| got.contains(why)), "{claim}: {got:?}"),
            }
        }
        assert!(trusted(Path::new("tidegate")).is_err_and(|why| why.contains("absolute")));
        std::fs::remove_dir_all(&place).expect("removed");
    }
}
