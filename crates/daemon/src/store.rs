//! What must survive the daemon: the desired state, and what is needed to put the host back.
//!
//! Every file is written beside its place, synced, and renamed over it, and the directory is synced after that: at any
//! moment there is either the old file or the new one, whole.

use model::{DesiredState, Invalid, Name, PortConfig, SwitchConfig, ValidState};
use rustix::fs::{FlockOperation, flock};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

const STATE: &str = "state.toml";
/// Bytes that are written at once: they stay in the CPU's cache.
const BUFFER: usize = 64 << 10;

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file cannot be read or written
    #[error("{path}: {error}; the state directory must be writable and have room", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// Another daemon holds the directory
    #[error("{path} is in use by another vmswitchd: stop that one, or give this one a --state-dir of its own", path = .0.display())]
    InUse(PathBuf),
    /// The text is not what it should be; it was left as it is
    #[error("{path}: {message}\nThe file was left as it is: mend it, or move it away to start without switches.", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, column and what is wrong there.
        message: String,
    },
    /// The state breaks a rule; it was left as it is
    #[error("{path}: {error}\nThe file was left as it is: mend it, or move it away to start without switches.", path = .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The rule.
        error: Invalid,
    },
}

/// The state directory, held against other daemons as long as this lives.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    _lock: File,
    /// What was saved last, by switch.
    written: BTreeMap<Name, BTreeMap<Name, Written>>,
}

/// A port as it was saved last, and its text: of a thousand ports with a hundred rules each it takes a tenth of a second to form
/// them all anew.
#[derive(Debug)]
struct Written {
    port: Arc<PortConfig>,
    text: String,
}

/// A part of the state file: one switch.
#[derive(Serialize)]
struct Switches<T> {
    switch: [T; 1],
}

/// One port of a switch.
#[derive(Serialize)]
struct Ports<'a> {
    port: [&'a PortConfig; 1],
}

impl Store {
    /// Opens the directory, makes it where it is missing, and locks it.
    ///
    /// # Errors
    /// It cannot be written, or another daemon holds it.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        for place in Kind::ALL.map(|kind| dir.join(kind.dir())) {
            fs::create_dir_all(&place).map_err(|error| io_error(&place, error))?;
        }
        let path = dir.join("lock");
        let lock = File::create(&path).map_err(|error| io_error(&path, error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| StoreError::InUse(dir.into()))?;
        Ok(Self { dir: dir.into(), _lock: lock, written: BTreeMap::new() })
    }

    /// The state that was saved last; an empty one where there was none.
    ///
    /// # Errors
    /// The file cannot be read, or is no valid state; it stays as it is.
    pub fn load_state(&self) -> Result<ValidState, StoreError> {
        let path = self.dir.join(STATE);
        let Some(text) = read(&path)? else { return Ok(ValidState::default()) };
        let state: DesiredState = toml::from_str(&text)
            .map_err(|e| StoreError::Malformed { path: path.clone(), message: e.to_string() })?;
        state.validate().map_err(|error| StoreError::Invalid { path, error })
    }

    /// Saves the state.
    ///
    /// # Errors
    /// It cannot be written; the former state stays.
    pub fn save_state(&mut self, state: &ValidState) -> Result<(), StoreError> {
        let path = self.dir.join(STATE);
        let parts = self
            .parts(state.desired())
            .map_err(|e| StoreError::Malformed { path: path.clone(), message: e.to_string() })?;
        replace(&path, parts)
    }

    /// The state file in parts, of which those are formed that are of ports that are not as they were.
    fn parts(&mut self, state: &DesiredState) -> Result<Vec<Cow<'_, str>>, toml::ser::Error> {
        self.written.retain(|name, _| state.switches.iter().any(|switch| &switch.name == name));
        for switch in &state.switches {
            form(self.written.entry(switch.name.clone()).or_default(), &switch.ports)?;
        }
        let head = "# What vmswitchd restores at start. Change it with `vmswitch apply`, not here.\n";
        let version = toml::to_string(&DesiredState { switches: vec![], ..*state })?;
        let mut parts = vec![head.into(), version.into()];
        for switch in &state.switches {
            parts.push("\n".into());
            let alone = SwitchConfig { ports: vec![], ..switch.clone() };
            parts.push(toml::to_string(&Switches { switch: [alone] })?.into());
            let written = &self.written[&switch.name];
            parts.extend(switch.ports.iter().map(|port| written[&port.name].text.as_str().into()));
        }
        Ok(parts)
    }

    /// What is kept about `name`.
    ///
    /// # Errors
    /// It cannot be read or understood.
    pub fn load<T: DeserializeOwned>(&self, kind: Kind, name: &str) -> Result<Option<T>, StoreError> {
        let path = self.path(kind, name);
        let Some(text) = read(&path)? else { return Ok(None) };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| StoreError::Malformed { path, message: e.to_string() })
    }

    /// The names of which something of that kind is kept.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn names(&self, kind: Kind) -> Result<Vec<String>, StoreError> {
        let dir = self.dir.join(kind.dir());
        let entries = fs::read_dir(&dir).map_err(|error| io_error(&dir, error))?;
        let files = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(files.filter_map(|file| file.strip_suffix(".json").map(Into::into)).collect())
    }

    /// Keeps something about `name`.
    ///
    /// # Errors
    /// It cannot be written; what was kept before stays.
    pub fn save<T: Serialize>(&self, kind: Kind, name: &str, what: &T) -> Result<(), StoreError> {
        let path = self.path(kind, name);
        let text = serde_json::to_string_pretty(what)
            .map_err(|e| StoreError::Malformed { path: path.clone(), message: e.to_string() })?;
        replace(&path, [text])
    }

    /// Forgets what is kept about `name`.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, kind: Kind, name: &str) -> Result<(), StoreError> {
        let path = self.path(kind, name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(&path, error)),
            _ => sync_dir(&path),
        }
    }

    fn path(&self, kind: Kind, name: &str) -> PathBuf {
        self.dir.join(kind.dir()).join(format!("{name}.json"))
    }
}

/// What is kept beside the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The journal of a switch's take-over.
    Takeover,
    /// What was done to an interface that became a port.
    Attachment,
    /// What a switch goes back to unless it is confirmed.
    Pending,
    /// An interface whose driver took VLAN tags out of frames, before AF_XDP had it end that.
    VlanTags,
    /// The addresses that the ports of a switch lease.
    Leases,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Takeover, Self::Attachment, Self::Pending, Self::VlanTags, Self::Leases];

    const fn dir(self) -> &'static str {
        match self {
            Self::Takeover => "takeovers",
            Self::Attachment => "attachments",
            Self::Pending => "pending",
            Self::VlanTags => "vlan-tags",
            Self::Leases => "leases",
        }
    }
}

/// Has `written` be what is written of those ports.
fn form(written: &mut BTreeMap<Name, Written>, ports: &[Arc<PortConfig>]) -> Result<(), toml::ser::Error> {
    for port in ports {
        match written.get_mut(&port.name) {
            // The same pointer is compared faster next time.
            Some(former) if former.port == *port => former.port = Arc::clone(port),
            _ => {
                let now = Written { port: Arc::clone(port), text: port_text(port)? };
                written.insert(port.name.clone(), now);
            }
        }
    }
    if written.len() > ports.len() {
        let names: BTreeSet<_> = ports.iter().map(|port| &port.name).collect();
        written.retain(|name, _| names.contains(name));
    }
    Ok(())
}

/// A port of the switch that was written last.
fn port_text(port: &PortConfig) -> Result<String, toml::ser::Error> {
    let text = toml::to_string(&Switches { switch: [Ports { port: [port] }] })?;
    Ok(text.replacen("[[switch]]\n", "", 1))
}

fn read(path: &Path) -> Result<Option<String>, StoreError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(path, error)),
    }
}

fn replace(path: &Path, parts: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(), StoreError> {
    let beside = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = BufWriter::with_capacity(BUFFER, File::create(&beside)?);
        for part in parts {
            file.write_all(part.as_ref().as_bytes())?;
        }
        file.into_inner()?.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|error| io_error(path, error))?;
    sync_dir(path)
}

fn sync_dir(path: &Path) -> Result<(), StoreError> {
    let dir = path.parent().unwrap_or(path);
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| io_error(dir, error))
}

fn io_error(path: &Path, error: io::Error) -> StoreError {
    StoreError::Io { path: path.into(), error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{SwitchConfig, SwitchKind};

    fn state() -> ValidState {
        let switch = SwitchConfig::new("lan".parse().unwrap(), SwitchKind::Private);
        DesiredState { switches: vec![switch], ..Default::default() }.validate().unwrap()
    }

    #[test]
    fn a_saved_state_is_loaded_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        assert_eq!(store.load_state().unwrap(), ValidState::default());
        store.save_state(&state()).unwrap();
        assert_eq!(store.load_state().unwrap(), state());
    }

    /// Two switches with ports whose settings are tables, too; `forbidden` is a port in one of their rules.
    fn with_ports(names: &[&str], forbidden: u16) -> ValidState {
        let port = |name: &&str| {
            let attach = model::Attachment::UnixDgram(format!("/run/{name}"));
            let mut port = PortConfig::new(name.parse().unwrap(), attach);
            let rule = format!("in deny tcp to any port {forbidden} weight 1").parse().unwrap();
            port.acl.rules = [rule].into_iter().collect();
            port.rate.storm_limit = Some(9);
            port.into()
        };
        let mut desired = state().desired().clone();
        let mut other = SwitchConfig { name: "lab".parse().unwrap(), ..desired.switches[0].clone() };
        other.multicast.snooping = true;
        desired.switches[0].ports = names.iter().map(port).collect();
        desired.switches.push(other);
        desired.validate().unwrap()
    }

    #[test]
    fn ports_that_did_not_change_are_saved_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        for state in [
            with_ports(&["vm1", "vm2"], 23),
            with_ports(&["vm1", "vm2"], 24),
            with_ports(&["vm2", "vm3", "vm1"], 24),
            with_ports(&["vm3"], 24),
            with_ports(&[], 24),
            with_ports(&["vm1"], 23),
        ] {
            store.save_state(&state).unwrap();
            assert_eq!(store.load_state().unwrap(), state);
        }
    }

    #[test]
    fn a_second_daemon_on_the_same_state_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Store::open(dir.path()).unwrap();
        assert!(matches!(Store::open(dir.path()), Err(StoreError::InUse(_))));
    }

    #[test]
    fn a_damaged_state_is_refused_with_its_place_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for (text, part) in [
            ("version = 1\n[[switch]]\nname = \"la", "line 3"),
            ("version = 1\nswitches = []\n", "line 2, column 1"),
            ("version = 1\n[[switch]]\nname = \"lan\"\nkind = \"external\"\n", "has no uplink"),
        ] {
            fs::write(dir.path().join(STATE), text).unwrap();
            let message = store.load_state().unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
            assert_eq!(fs::read_to_string(dir.path().join(STATE)).unwrap(), text);
        }
    }

    #[test]
    fn journals_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.save(Kind::Takeover, "lan", &vec![1, 2]).unwrap();
        assert_eq!(store.names(Kind::Takeover).unwrap(), ["lan"]);
        assert_eq!(store.load(Kind::Takeover, "lan").unwrap(), Some(vec![1, 2]));
        assert_eq!(store.load::<Vec<u8>>(Kind::Pending, "lan").unwrap(), None);
        store.remove(Kind::Takeover, "lan").unwrap();
        assert_eq!(store.load::<Vec<u8>>(Kind::Takeover, "lan").unwrap(), None);
    }
}
