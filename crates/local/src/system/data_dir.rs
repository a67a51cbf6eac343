//! The folder in which table and keys are kept, by one system at a time.

use super::StartError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// Makes the folder, readable by its owner alone, and takes it for as long as the answer
/// is held: two systems in one folder would each write keys that the other does not
/// know. The operating system gives it back however the process ends.
pub(super) fn take(dir: &Path) -> Result<File, StartError> {
    let fault = |error: io::Error| StartError::File {
        path: dir.to_owned(),
        reason: error.to_string(),
    };
    private(dir).map_err(fault)?;
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false);
    let file = file.open(dir.join("lock")).map_err(fault)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(fault(error)),
    }
}

fn private(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_taken_once_and_given_back() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("data");
        let taken = take(&dir).unwrap();
        let again = take(&dir).unwrap_err();
        assert!(
            matches!(&again, StartError::InUse(path) if *path == dir),
            "{again}"
        );
        take(&parent.path().join("another")).unwrap();
        drop(taken);
        take(&dir).unwrap();
    }
}
