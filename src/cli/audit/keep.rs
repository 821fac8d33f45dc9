//! `audit init`, `audit purge`, `audit hold` and `audit accept-break`: on the node, while it is stopped.

use super::{AcceptBreakArgs, Failure, HoldArgs, InitArgs, PurgeArgs, Which};
use crate::audit::Word;
use crate::audit::event::Event;
use crate::audit::note::PrivateKey;
use crate::audit::types::{AdminRef, By, ConsultRef, Micros};
use crate::config::{Config, Mode};
use crate::node::audit::{folder, settings};
use crate::worker::audit_writer::console::{Console, Fault};
use crate::worker::audit_writer::{Clock as _, SystemClock, keys};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Longest hold: whoever needs more sets it again, and says so in the record.
const LONGEST_HOLD_DAYS: u32 = 366;

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::OnePerson => Self::Usage(fault.to_string()),
            Fault::Open(_) | Fault::Io(_) | Fault::Rule(_) => Self::Setup(format!("audit: {fault}")),
        }
    }
}

/// Makes the root key where there is none, and the epochs of the days ahead.
pub(super) fn init(args: &InitArgs) -> Result<String, Failure> {
    let config = load(&args.config)?;
    let file = &config.audit.root_key_file;
    let mut said = String::new();
    if !file.exists() {
        let private = make_root(&config, file)?;
        let public = file.with_extension("pub");
        fs::write(&public, format!("{}\n", private.public().to_text())).map_err(|error| wrong(&public, &error))?;
        said.push_str(&format!("made the root key {} and its public half {}\n", file.display(), public.display()));
    }
    let (_, held) = (settings(&config)?, fs::read_to_string(args.root_key.as_deref().unwrap_or(file)));
    let held = held.map_err(|error| wrong(args.root_key.as_deref().unwrap_or(file), &error))?;
    let made = match PrivateKey::parse(&held) {
        Ok(root) => with_console(&config, |console| console.prepare(&root, args.days))?,
        Err(_) if args.days == 0 => 0,
        Err(_) => {
            let what = "the configuration names only the public half of the root key; pass the private one with --root-key";
            return Err(Failure::Usage(what.to_owned()));
        }
    };
    said.push_str(&format!("prepared {made} epochs\n"));
    Ok(said)
}

fn make_root(config: &Config, file: &Path) -> Result<PrivateKey, Failure> {
    let name = Word::new(&format!("{}/root", config.audit.deployment)).map_err(|fault| Failure::Setup(fault.to_string()))?;
    let seed = keys::random().map_err(|error| Failure::Internal(error.to_string()))?;
    let private = PrivateKey::new(name, seed).map_err(|fault| Failure::Internal(fault.to_string()))?;
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(|error| wrong(file, &error))?;
    let written = to.write_all(private.expose().as_bytes()).and_then(|()| to.write_all(b"\n")).and_then(|()| to.sync_all());
    written.map_err(|error| wrong(file, &error))?;
    Ok(private)
}

fn wrong(file: &Path, error: &std::io::Error) -> Failure {
    Failure::Setup(format!("{}: {error}", file.display()))
}

/// Removes what is older than some days.
pub(super) fn purge(args: &PurgeArgs) -> Result<String, Failure> {
    let config = load(&args.config)?;
    let (by, second) = (admin("--by", &args.by)?, args.second.as_deref().map(|id| admin("--second", id)).transpose()?);
    let tenant = tenant(&config, &args.which)?;
    let days = args.older_than_days.unwrap_or(config.audit.retention_days);
    let gone = with_console(&config, |console| console.purge(tenant.as_ref(), days, &by, second.as_ref()))?;
    Ok(format!("{gone} entries were purged\n"))
}

/// Suspends purging, or lets it go on.
pub(super) fn hold(args: &HoldArgs) -> Result<String, Failure> {
    let config = load(&args.config)?;
    let by = admin("--by", &args.by)?;
    let tenant = tenant(&config, &args.which)?;
    let until = match (args.days, args.release) {
        (Some(days), false) if (1..=LONGEST_HOLD_DAYS).contains(&days) => {
            Some(Micros(SystemClock::default().stamp().ts.0.saturating_add(u64::from(days) * Micros::DAY)))
        }
        (None, true) => None,
        _ => return Err(Failure::Usage(format!("expected --days with 1 to {LONGEST_HOLD_DAYS}, or --release"))),
    };
    let consultation = args.consult.as_deref().map(|text| ConsultRef::parse(text).ok_or_else(no_reference)).transpose()?;
    with_console(&config, |console| match consultation {
        Some(consultation) => console.hold_consultation(tenant.as_ref(), consultation, until, &by),
        None => console.hold(tenant.as_ref(), until, &by),
    })?;
    Ok(until.map_or_else(|| "purging goes on\n".to_owned(), |until| format!("held until {}\n", until.to_text())))
}

fn no_reference() -> Failure {
    let hint = "expected a consultation's reference in the log, c- and 26 characters; colloque audit resolve finds it";
    Failure::Usage(format!("--consult: {hint}"))
}

/// Begins a new lineage after damage.
pub(super) fn accept_break(args: &AcceptBreakArgs) -> Result<String, Failure> {
    let config = load(&args.config)?;
    let (by, second) = (admin("--by", &args.by)?, admin("--second", &args.second)?);
    let tenant = tenant(&config, &args.which)?;
    let root = args.root_key.as_deref().map(|file| {
        let text = fs::read_to_string(file).map_err(|error| wrong(file, &error))?;
        PrivateKey::parse(&text).map_err(|_| Failure::Usage("--root-key: expected the file of the private root key".to_owned()))
    });
    let root = root.transpose()?;
    let lineage = with_console(&config, |console| console.accept_break(tenant.as_ref(), &by, &second, root.as_ref()))?;
    Ok(format!("lineage {lineage} has begun; the one before stays as it is\n"))
}

/// Records that entries of a log in the configured folder are handed on.
pub(super) fn told(file: &Path, log: &Path, by: &str, event: impl FnOnce(By, u64) -> Event) -> Result<(), Failure> {
    let (config, by) = (load(file)?, admin("--by", by)?);
    let whole = |path: &Path| path.canonicalize().map_err(|error| wrong(path, &error));
    let (log, dir) = (whole(log)?, whole(&config.audit.dir)?);
    let below = log.strip_prefix(&dir).map(|rest| rest.to_string_lossy().into_owned());
    let elsewhere = || Failure::Usage("--log: expected a log of the audit.dir that --config names".to_owned());
    let below = below.map_err(|_| elsewhere())?;
    with_console(&config, |console| {
        let Some(owner) = console.owner(&below) else { return Ok(None) };
        let who = By::Admin(by.clone());
        console.told(owner.as_ref(), &by, |size| event(who, size)).map(Some)
    })?
    .ok_or_else(elsewhere)
}

pub(super) fn load(file: &Path) -> Result<Config, Failure> {
    let config = Config::load(file, Mode::Production)?;
    if config.audit.is_on() {
        return Ok(config);
    }
    Err(Failure::Usage(format!("{}: audit.dir is empty, so no record is kept; name a folder", file.display())))
}

pub(super) fn with_console<T>(config: &Config, order: impl FnOnce(&mut Console<'_>) -> Result<T, Fault>) -> Result<T, Failure> {
    let (settings, source) = settings(config)?;
    let mut disk = folder(&config.audit)?;
    let mut console = Console { disk: &mut disk, clock: &SystemClock::default(), settings: &settings, source: &source };
    order(&mut console).map_err(Failure::from)
}

pub(super) fn admin(flag: &str, id: &str) -> Result<AdminRef, Failure> {
    let expected = || Failure::Usage(format!("{flag}: expected an account id such as adm-7f3a, never a name"));
    AdminRef::new(id).map_err(|_| expected())
}

pub(super) fn tenant(config: &Config, which: &Which) -> Result<Option<Word>, Failure> {
    let Some(name) = which.tenant.as_ref().filter(|_| !which.node) else { return Ok(None) };
    let known = config.tenants.iter().any(|tenant| tenant.id.as_str() == name);
    let word = Word::new(name).ok().filter(|_| known);
    word.map(Some).ok_or_else(|| Failure::Usage("--tenant: no such tenant in the configuration".to_owned()))
}
