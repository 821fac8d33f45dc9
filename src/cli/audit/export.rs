//! `audit extract`, `audit check-extract` and `audit export`: the record for other eyes, verified before a byte of it is written.

use super::super::{Failure, print};
use super::folder::Folder;
use super::keep;
use super::syslog::{Receiver, Sender};
use crate::audit::Micros;
use crate::audit::attestation::{SigningKey, sign_document};
use crate::audit::event::Event;
use crate::audit::export::extract::{Extract, LONGEST};
use crate::audit::export::reading::{self, Period, Select};
use crate::audit::export::report::{self, Report};
use crate::audit::export::{Stored, atna, fhir, story};
use crate::audit::note::PublicKey;
use crate::audit::types::{By, Word};
use crate::audit::verify::{self, Code, Files, Trust};
use crate::audit::words::{ExportFormat, FilterKind};
use clap::{Args, ValueEnum};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Most entries of one consultation's report or table, which are held in memory: a week of a busy room.
const MOST: usize = 100_000;

/// Which log, which time, which entries.
#[derive(Args)]
struct Choice {
    /// Folder of the log, or of a copy
    #[arg(long, value_name = "DIR")]
    log: PathBuf,
    /// The root's public key, or the file that holds it
    #[arg(long, value_name = "KEY")]
    root_key: String,
    /// From this day or time on, UTC: 2026-11-21 or 2026-11-21T09:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Micros,
    /// Until before this day or time, UTC
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Micros,
    /// Only this consultation, by its reference in the log (c-…)
    #[arg(long, value_name = "REF")]
    consult: Option<String>,
    /// Only the rooms this participant was in, by the reference in the log (p-…)
    #[arg(long, value_name = "REF", conflicts_with = "consult")]
    participant: Option<String>,
    /// Write to this new file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// On the node, while it is stopped: its configuration, so that the log itself says who took what
    #[arg(long, value_name = "FILE", requires = "by")]
    config: Option<PathBuf>,
    /// Who takes it: an account id such as adm-7f3a
    #[arg(long, value_name = "ID", requires = "config")]
    by: Option<String>,
}

/// How one entry is written.
type Form = Box<dyn FnMut(&Stored) -> Vec<u8>>;

/// Words of `audit extract`.
#[derive(Args)]
pub(in crate::cli) struct ExtractArgs {
    #[command(flatten)]
    choice: Choice,
    /// Print the plain words only, without proofs
    #[arg(long)]
    words: bool,
}

/// Words of `audit check-extract`.
#[derive(Args)]
pub(in crate::cli) struct CheckArgs {
    /// The extract
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The root's public key, or the file that holds it
    #[arg(long, value_name = "KEY")]
    root_key: String,
    /// File with the root's revocation of epochs
    #[arg(long, value_name = "FILE")]
    revocation: Option<PathBuf>,
}

/// The form of an export.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Stored entries as they are, one a line
    Ndjson,
    /// FHIR R4 `AuditEvent` by the French profile
    FhirR4Tde,
    /// FHIR R4 `AuditEvent` by IHE's Basic Audit Log Patterns
    FhirR4Balp,
    /// DICOM audit messages in syslog
    Atna,
    /// Consultation report
    JsonReport,
    /// Plain words
    Table,
}

/// Words of `audit export`.
#[derive(Args)]
pub(in crate::cli) struct ExportArgs {
    #[command(flatten)]
    choice: Choice,
    /// Form
    #[arg(long, value_enum)]
    format: Format,
    /// One FHIR Bundle instead of one resource a line
    #[arg(long)]
    bundle: bool,
    /// Sign the report with this Ed25519 key (PKCS#8 in PEM)
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
    /// MSGID of syslog messages
    #[arg(long, value_name = "ID", default_value = atna::MESSAGE_ID)]
    message_id: String,
    /// Send syslog over TLS to this receiver instead of writing it
    #[arg(long, value_name = "HOST[:PORT]", requires_all = ["syslog_ca", "syslog_cert", "syslog_key"], conflicts_with = "out")]
    syslog: Option<String>,
    /// Certificates that may vouch for the receiver, in PEM
    #[arg(long, value_name = "FILE", requires = "syslog")]
    syslog_ca: Option<PathBuf>,
    /// Our certificate for the receiver, in PEM
    #[arg(long, value_name = "FILE", requires = "syslog")]
    syslog_cert: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", requires = "syslog")]
    syslog_key: Option<PathBuf>,
}

/// Takes one consultation out.
pub(super) fn extract(args: &ExtractArgs, out: &mut dyn Write, err: &mut dyn Write) -> Result<u8, Failure> {
    let (folder, select) = args.choice.open()?;
    if select == Select::All {
        return Err(Failure::Usage(
            "audit extract: name a consultation with --consult or a participant with --participant".to_owned(),
        ));
    }
    if let Some(code) = args.choice.refused(&folder, err)? {
        return Ok(code);
    }
    let format = if args.words { ExportFormat::Table } else { ExportFormat::Proof };
    args.choice.told(|by, filter_kind, to_seq| Event::AuditExtracted { by, filter_kind, format, from_seq: 0, to_seq })?;
    let extract = Extract::of(&folder, args.choice.period()?, &select).map_err(|error| Failure::Setup(error.to_string()))?;
    let mut target = args.choice.target(out)?;
    let text =
        if args.words { story::table(&extract.table).into_bytes() } else { [extract.canonical(), b"\n".to_vec()].concat() };
    target.write_all(&text).and_then(|()| target.flush()).map_err(|error| unwritten(&error))?;
    Ok(0)
}

/// Checks an extract and prints its plain words; any change is an error.
pub(super) fn check(args: &CheckArgs, out: &mut dyn Write) -> Result<u8, Failure> {
    let root = root_key(&args.root_key)?;
    let bytes = bounded(&args.file, LONGEST)?;
    let revocation = args.revocation.as_deref().map(|file| bounded(file, LONGEST)).transpose()?;
    let revocation = revocation.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match Extract::verify(&bytes, &root, revocation.as_deref()) {
        Ok(extract) => {
            print(out, &format!("{}: {} entries, all as they were signed\n", extract.origin, extract.entries.len()))?;
            print(out, &story::table(&extract.table)).map(|()| 0)
        }
        Err(error) => Err(Failure::Setup(format!("{}: {error}", args.file.display()))),
    }
}

/// Writes or sends entries in another form.
pub(super) fn export(args: &ExportArgs, out: &mut dyn Write, err: &mut dyn Write) -> Result<u8, Failure> {
    args.consistent()?;
    let (folder, select) = args.choice.open()?;
    let period = args.choice.period()?;
    if let Some(code) = args.choice.refused(&folder, err)? {
        return Ok(code);
    }
    args.choice.told(|by, filter_kind, to_seq| args.told(by, filter_kind, to_seq))?;
    match args.receiver() {
        Some(receiver) => {
            let mut sender = Sender::connect(&receiver)?;
            args.stream(&folder, period, &select, &mut sender)?;
            sender.finish()?;
        }
        None => {
            let mut target = args.choice.target(out)?;
            match args.format {
                Format::JsonReport | Format::Table => args.whole(&folder, period, &select, &mut target)?,
                Format::Ndjson | Format::FhirR4Tde | Format::FhirR4Balp | Format::Atna => {
                    args.stream(&folder, period, &select, &mut target)?;
                }
            }
            target.flush().map_err(|error| unwritten(&error))?;
        }
    }
    Ok(0)
}

impl Choice {
    fn open(&self) -> Result<(Folder, Select), Failure> {
        let select = match (&self.consult, &self.participant) {
            (Some(reference), _) => Select::Consultation(reference.clone()),
            (None, Some(reference)) => Select::Participant(reference.clone()),
            (None, None) => Select::All,
        };
        Ok((Folder(self.log.clone()), select))
    }

    fn period(&self) -> Result<Period, Failure> {
        let period = Period { from: self.from, to: self.to };
        if period.from < period.to { Ok(period) } else { Err(Failure::Usage("--to: expected a time after --from".to_owned())) }
    }

    /// Verifies the log; a log that is not what was written is not handed on, and the code says why.
    fn refused(&self, folder: &Folder, err: &mut dyn Write) -> Result<Option<u8>, Failure> {
        let trust = Trust::of(root_key(&self.root_key)?);
        let report = verify::verify(folder, &trust).map_err(Failure::Setup)?;
        match report.code() {
            Code::Intact | Code::Torn | Code::Warning => Ok(None),
            code @ (Code::Content | Code::Signature | Code::Gap | Code::Inconsistent) => {
                // Nobody is left to tell when standard error is closed; the exit code says it too.
                let _closed =
                    write!(err, "colloque: nothing was exported, because the log does not verify\n{}", report.to_text());
                Ok(Some(code.exit()))
            }
        }
    }

    /// Puts on record who takes what, where the log is told; before the first byte is handed on.
    fn told(&self, event: impl FnOnce(By, FilterKind, u64) -> Event) -> Result<(), Failure> {
        let (Some(config), Some(by)) = (&self.config, &self.by) else { return Ok(()) };
        let kind = match (&self.consult, &self.participant) {
            (Some(_), _) => FilterKind::Consultation,
            (None, Some(_)) => FilterKind::Participant,
            (None, None) => FilterKind::All,
        };
        keep::told(config, &self.log, by, |by, size| event(by, kind, size.saturating_sub(1)))
    }

    /// Where to write. A file must be new, and only its owner may read it.
    fn target<'a>(&self, out: &'a mut dyn Write) -> Result<Box<dyn Write + 'a>, Failure> {
        let Some(file) = &self.out else { return Ok(Box::new(out)) };
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
        let made = made.map_err(|error| Failure::Setup(format!("--out {}: {error}", file.display())))?;
        Ok(Box::new(std::io::BufWriter::new(made)))
    }
}

impl ExportArgs {
    /// What the record says: an export leaves for another system, a reading stays here.
    fn told(&self, by: By, filter_kind: FilterKind, to_seq: u64) -> Event {
        let format = match self.format {
            Format::Ndjson => ExportFormat::Ndjson,
            Format::FhirR4Tde => ExportFormat::FhirTde,
            Format::FhirR4Balp => ExportFormat::FhirBalp,
            Format::Atna => ExportFormat::Atna,
            Format::JsonReport => ExportFormat::JsonReport,
            Format::Table => return Event::AuditRead { by, filter_kind, from_seq: 0, to_seq },
        };
        let dest = Word::new(if self.syslog.is_some() { "syslog" } else { "file" }).expect("a word of letters");
        Event::AuditExported { by, dest, filter_kind, format, from_seq: 0, to_seq }
    }

    fn consistent(&self) -> Result<(), Failure> {
        let wrong = |text: &str| Err(Failure::Usage(text.to_owned()));
        let fhir = matches!(self.format, Format::FhirR4Tde | Format::FhirR4Balp);
        match () {
            () if self.bundle && !fhir => wrong("--bundle: only with --format fhir-r4-tde or fhir-r4-balp"),
            () if self.syslog.is_some() && self.format != Format::Atna => wrong("--syslog: only with --format atna"),
            () if self.format == Format::JsonReport && self.choice.consult.is_none() => {
                wrong("--format json-report: name the consultation with --consult")
            }
            () if self.signing_key.is_some() && self.format != Format::JsonReport => {
                wrong("--signing-key: only with --format json-report")
            }
            () => Ok(()),
        }
    }

    fn receiver(&self) -> Option<Receiver<'_>> {
        let (ca, cert, key) = (self.syslog_ca.as_deref()?, self.syslog_cert.as_deref()?, self.syslog_key.as_deref()?);
        Some(Receiver { place: self.syslog.as_deref()?, ca, cert, key })
    }

    /// Forms that need one entry at a time.
    fn stream(&self, folder: &Folder, period: Period, select: &Select, target: &mut dyn Write) -> Result<(), Failure> {
        let mut form = self.form()?;
        let mut first = true;
        let written = |written: std::io::Result<()>| written.map_err(|error| error.to_string());
        if self.bundle {
            written(target.write_all(b"{\"entry\":[")).map_err(Failure::Setup)?;
        }
        reading::chosen(folder, period, select, |entry| {
            let separator: &[u8] = if self.bundle && !first { b"," } else { b"" };
            first = false;
            written(target.write_all(separator).and_then(|()| target.write_all(&form(&entry))))
        })
        .map_err(Failure::Setup)?;
        if self.bundle {
            written(target.write_all(b"],\"resourceType\":\"Bundle\",\"type\":\"collection\"}\n")).map_err(Failure::Setup)?;
        }
        Ok(())
    }

    /// How one entry is written.
    fn form(&self) -> Result<Form, Failure> {
        let line = |text: String| format!("{text}\n").into_bytes();
        let fhir = |profile| {
            let (mut exporter, bundle) = (fhir::Exporter::new(profile), self.bundle);
            Box::new(move |entry: &Stored| match bundle {
                true => exporter.bundle_entry(entry).to_string().into_bytes(),
                false => line(exporter.audit_event(entry).to_string()),
            })
        };
        Ok(match self.format {
            Format::FhirR4Tde => fhir(fhir::Profile::Tde),
            Format::FhirR4Balp => fhir(fhir::Profile::Balp),
            Format::Atna => {
                let made = atna::Exporter::with_message_id(&self.message_id);
                let mut exporter = made.map_err(|error| Failure::Usage(format!("--message-id: {error}")))?;
                let sent = self.syslog.is_some();
                Box::new(move |entry| {
                    let message = exporter.message(entry);
                    if sent { atna::framed(&message) } else { line(message) }
                })
            }
            Format::Ndjson | Format::JsonReport | Format::Table => Box::new(|entry| [entry.bytes(), b"\n"].concat()),
        })
    }

    /// Forms that need all entries at once.
    fn whole(&self, folder: &Folder, period: Period, select: &Select, target: &mut dyn Write) -> Result<(), Failure> {
        let mut entries = Vec::new();
        let keep = |entry| {
            entries.push(entry);
            if entries.len() < MOST { Ok(()) } else { Err(format!("more than {MOST} entries: choose a shorter time")) }
        };
        reading::chosen(folder, period, select, keep).map_err(Failure::Setup)?;
        let text = match (&self.choice.consult, self.format) {
            (Some(consult), Format::JsonReport) => self.report(consult, &entries, folder)?,
            _ => story::table(&story::tell(&entries)),
        };
        target.write_all(text.as_bytes()).map_err(|error| unwritten(&error))
    }

    fn report(&self, consult: &str, entries: &[Stored], folder: &Folder) -> Result<String, Failure> {
        if entries.is_empty() {
            return Err(Failure::Setup("the log has no entry of this consultation in this time".to_owned()));
        }
        let report = Report::of(consult, entries, head(folder)).canonical();
        let Some(file) = &self.signing_key else { return Ok(format!("{}\n", String::from_utf8_lossy(&report))) };
        let wrong = |error: &dyn std::fmt::Display| Failure::Setup(format!("--signing-key {}: {error}", file.display()));
        let pem = zeroize::Zeroizing::new(fs::read_to_string(file).map_err(|error| wrong(&error))?);
        let key = SigningKey::from_pem(&pem).map_err(|error| wrong(&error))?;
        Ok(format!("{}\n", sign_document(report::TYPE, &report, &key)))
    }
}

/// The newest signed head.
fn head(folder: &Folder) -> Option<report::Head> {
    let note = folder.read("checkpoint").ok()?;
    report::Head::of(std::str::from_utf8(&note).ok()?)
}

fn root_key(words: &str) -> Result<PublicKey, Failure> {
    let held = PublicKey::parse(words)
        .or_else(|fault| fs::read_to_string(words).map_err(|_| fault).and_then(|text| PublicKey::parse(&text)));
    held.map_err(|_| Failure::Usage("--root-key: expected a public key, NAME+ID+BASE64, or a file that holds one".to_owned()))
}

fn bounded(file: &Path, longest: usize) -> Result<Vec<u8>, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::Setup(format!("{}: {error}", file.display()));
    let length = fs::metadata(file).map_err(|error| wrong(&error))?.len();
    if length > u64::try_from(longest).unwrap_or(u64::MAX) {
        return Err(wrong(&"longer than it may be"));
    }
    fs::read(file).map_err(|error| wrong(&error))
}

fn unwritten(error: &std::io::Error) -> Failure {
    Failure::Setup(format!("the output cannot be written: {error}"))
}

/// A day, or a time to the second or microsecond, UTC.
fn time(text: &str) -> Result<Micros, String> {
    let full = match text.len() {
        10 => format!("{text}T00:00:00.000000Z"),
        20 => text.replace('Z', ".000000Z"),
        _ => text.to_owned(),
    };
    Micros::parse(&full).ok_or_else(|| "expected a day or a time in UTC: 2026-11-21 or 2026-11-21T09:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::samples;
    use crate::cli;
    use crate::cli::tests::told;

    #[test]
    fn times_are_days_or_moments() {
        assert_eq!(time("2026-11-21"), Ok(Micros(1_795_219_200_000_000)));
        assert_eq!(time("2026-11-21T09:31:07Z"), Ok(Micros(1_795_253_467_000_000)));
        assert_eq!(time("2026-11-21T09:31:07.204118Z"), Ok(Micros(1_795_253_467_204_118)));
        for wrong in ["", "2026-13-01", "21/11/2026", "2026-11-21T09:31:07", "yesterday"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    /// A log in a folder of its own, and what the command line says about it.
    struct Case {
        folder: PathBuf,
        root: String,
    }

    impl Case {
        fn new(name: &str) -> Self {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(format!("export-{name}"));
            let _absent = fs::remove_dir_all(&folder);
            fs::create_dir_all(folder.join("log/epochs")).expect("a folder");
            let shape = samples::Shape { seed: 3, events: 150, days: 3, purged_days: 0 };
            for (name, bytes) in samples::files(shape).expect("a log") {
                fs::write(folder.join("log").join(name), bytes).expect("a file");
            }
            Self { folder, root: samples::root_key(3).expect("a key").public().to_text() }
        }

        fn file(&self, name: &str) -> String {
            self.folder.join(name).to_str().expect("text").to_owned()
        }

        /// `audit …` over the whole time of the log.
        fn run(&self, words: &[&str]) -> (u8, String, String) {
            let log = self.file("log");
            let all = ["audit", words[0], "--log", &log, "--root-key", &self.root, "--from", "2020-01-01", "--to", "2100-01-01"];
            told(&[&all[..], &words[1..]].concat())
        }

        /// A consultation of the log.
        fn consult(&self) -> String {
            let (_, entries, _) = self.run(&["export", "--format", "ndjson"]);
            let entries: Vec<_> = entries.lines().map(|line| Stored::read(line.as_bytes()).expect("an entry")).collect();
            let consult = entries.iter().find_map(|entry| entry.optional("consult"));
            consult.expect("a consultation").to_owned()
        }
    }

    #[test]
    fn every_form_is_written_for_every_entry() {
        let case = Case::new("forms");
        let (code, stored, err) = case.run(&["export", "--format", "ndjson"]);
        assert_eq!((code, err.as_str()), (0, ""));
        let count = stored.lines().count();
        assert!(count > 150);
        for format in ["fhir-r4-tde", "fhir-r4-balp", "atna", "table"] {
            let (code, text, _) = case.run(&["export", "--format", format]);
            assert_eq!((code, text.lines().count()), (0, count), "{format}");
        }
        let (_, bundle, _) = case.run(&["export", "--format", "fhir-r4-tde", "--bundle"]);
        let bundle: serde_json::Value = serde_json::from_str(&bundle).expect("JSON");
        assert_eq!(bundle["entry"].as_array().map(Vec::len), Some(count));
        let (code, report, _) = case.run(&["export", "--format", "json-report", "--consult", &case.consult()]);
        assert_eq!(code, 0);
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        assert_eq!(report["log"]["root"].as_str().map(str::len), Some(64));
    }

    #[test]
    fn a_reading_has_bounds() {
        let case = Case::new("bounds");
        let log = case.file("log");
        let unbounded = ["audit", "export", "--log", &log, "--root-key", &case.root, "--format", "ndjson"];
        assert_eq!(told(&unbounded).0, cli::EXIT_USAGE);
        let empty = [&unbounded[..], &["--from", "2020-01-01", "--to", "2020-01-02"]].concat();
        assert_eq!(told(&empty), (0, String::new(), String::new()));
        let turned = [&unbounded[..], &["--from", "2020-01-02", "--to", "2020-01-01"]].concat();
        assert_eq!(told(&turned).0, cli::EXIT_USAGE);
    }

    #[test]
    fn an_extract_is_checked_alone() {
        let case = Case::new("extract");
        let file = case.file("extract.json");
        let (code, _, err) = case.run(&["extract", "--consult", &case.consult(), "--out", &file]);
        assert_eq!((code, err.as_str()), (0, ""));
        fs::remove_dir_all(case.file("log")).expect("a folder");
        let (code, words, _) = told(&["audit", "check-extract", &file, "--root-key", &case.root]);
        assert_eq!(code, 0);
        assert!(words.contains("all as they were signed"));
        let changed = fs::read_to_string(&file).expect("a file").replacen("ok", "no", 1);
        fs::write(&file, changed).expect("a file");
        let (code, words, err) = told(&["audit", "check-extract", &file, "--root-key", &case.root]);
        assert_eq!((code, words.as_str()), (cli::EXIT_CONFIG, ""));
        assert!(err.contains("extract.json"), "{err}");
    }

    #[test]
    fn a_log_that_was_changed_is_not_handed_on() {
        let case = Case::new("changed");
        let name = fs::read_dir(case.file("log"))
            .expect("a folder")
            .flatten()
            .find(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("seg-")));
        let path = name.expect("a segment").path();
        let mut bytes = fs::read(&path).expect("a file");
        bytes[200] ^= 1;
        fs::write(&path, bytes).expect("a file");
        let (code, out, err) = case.run(&["export", "--format", "ndjson"]);
        assert_eq!((code, out.as_str()), (3, ""));
        assert!(err.contains("nothing was exported"), "{err}");
    }

    #[test]
    fn words_that_do_not_fit_are_refused() {
        let case = Case::new("words");
        for words in [
            &["export", "--format", "ndjson", "--bundle"][..],
            &["export", "--format", "json-report"],
            &["export", "--format", "table", "--syslog", "h", "--syslog-ca", "a", "--syslog-cert", "b", "--syslog-key", "c"],
            &["export", "--format", "atna", "--syslog", "h"],
            &["export", "--format", "atna", "--message-id", "two words"],
            &["extract"],
        ] {
            assert_eq!(case.run(words).0, cli::EXIT_USAGE, "{words:?}");
        }
        let file = case.file("taken");
        fs::write(&file, "x").expect("a file");
        assert_eq!(
            case.run(&["export", "--format", "ndjson", "--out", &file]).0,
            cli::EXIT_CONFIG,
            "a file is never overwritten"
        );
    }
}
