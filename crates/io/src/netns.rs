//! Work inside a network namespace, on a thread of its own: the caller's thread never leaves its namespace, so nothing
//! that goes wrong in between can leave it in a foreign one.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    panic::resume_unwind,
    path::{Path, PathBuf},
    thread,
};

/// Where `ip netns` keeps the namespaces it names.
const NAMED: &str = "/run/netns";

/// Why a namespace could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// Nothing of that name is there.
    #[error("network namespace {} is not there; create it first (ip netns add) or check the name", .0.display())]
    NotFound(PathBuf),
    /// It is there, but is no network namespace, or may not be entered.
    #[error("network namespace {} cannot be entered; it takes CAP_SYS_ADMIN and a file that ip netns made", .0.display())]
    Enter(PathBuf, #[source] io::Error),
}

/// Runs `work` inside a network namespace and returns what it returned. The namespace is given by its name under
/// /run/netns or by an absolute path, like /proc/PID/ns/net.
///
/// Descriptors that were opened inside keep referring to it; a socket or TAP also keeps it alive after it was deleted.
///
/// # Errors
/// The namespace is not there or cannot be entered; `work` was not run then.
pub fn in_namespace<T: Send>(
    namespace: impl AsRef<Path>,
    work: impl FnOnce() -> T + Send,
) -> Result<T, NamespaceError> {
    let path = resolve(namespace.as_ref());
    let file = File::open(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NamespaceError::NotFound(path.clone()),
        _ => NamespaceError::Enter(path.clone(), error),
    })?;
    let inside = || -> io::Result<T> {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(work())
    };
    match thread::scope(|scope| scope.spawn(inside).join()) {
        Ok(done) => done.map_err(|error| NamespaceError::Enter(path, error)),
        Err(panic) => resume_unwind(panic),
    }
}

/// Tells one namespace from another by the same name, to notice that it was deleted (`None`) or replaced.
///
/// Compare while a port inside is open: it keeps the old namespace alive, else the kernel may give its number anew.
#[must_use]
pub fn namespace_id(namespace: impl AsRef<Path>) -> Option<(u64, u64)> {
    resolve(namespace.as_ref()).metadata().ok().map(|found| (found.dev(), found.ino()))
}

/// An absolute path stays what it is.
fn resolve(namespace: &Path) -> PathBuf {
    Path::new(NAMED).join(namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_is_not_there_is_named_in_the_error() {
        let error = in_namespace("no-such-ns", || ()).unwrap_err();
        assert!(
            error.to_string().starts_with("network namespace /run/netns/no-such-ns is not there"),
            "{error}"
        );
        assert_eq!(namespace_id("no-such-ns"), None);
    }

    #[test]
    fn a_file_that_is_no_namespace_is_not_entered() {
        let error = in_namespace("/dev/null", || panic!("ran")).unwrap_err();
        assert!(matches!(error, NamespaceError::Enter(..)), "{error:?}");
    }
}
