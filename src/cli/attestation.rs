//! `attestation verify` and `attestation key`: checks an attestation offline, with the public key alone, and says what it says.

use super::{Failure, print};
use crate::audit::attestation::{self, SigningKey, VerifyingKey};
use clap::{Args, Subcommand};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The attestation does not verify (`EX_DATAERR`).
pub(super) const EXIT_CHANGED: u8 = 65;

/// What to do with an attestation.
#[derive(Subcommand)]
pub(super) enum AttestationCommand {
    /// Check an attestation offline and print what it says: 0 as it was signed, 65 not
    Verify(VerifyArgs),
    /// Print the public half of the key that signs attestations
    Key {
        /// File with the Ed25519 private key in PEM, as audit.attestation_key_file names it
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Words of `attestation verify`.
#[derive(Args)]
pub(super) struct VerifyArgs {
    /// The attestation
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// File with the issuer's Ed25519 public key in PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Print the statement as JSON
    #[arg(long)]
    json: bool,
}

/// Carries the command out; answers the exit code.
pub(super) fn run(command: &AttestationCommand, out: &mut dyn Write, err: &mut dyn Write) -> Result<u8, Failure> {
    let wrong = |file: &Path, error: &dyn std::fmt::Display| Failure::Setup(format!("{}: {error}", file.display()));
    let args = match command {
        AttestationCommand::Verify(args) => args,
        AttestationCommand::Key { file } => {
            let pem = Zeroizing::new(fs::read_to_string(file).map_err(|error| wrong(file, &error))?);
            let key = SigningKey::from_pem(&pem).map_err(|error| wrong(file, &error))?;
            return print(out, &key.verifying_key().to_pem()).map(|()| 0);
        }
    };
    let pem = fs::read_to_string(&args.key).map_err(|error| wrong(&args.key, &error))?;
    let key = VerifyingKey::from_pem(&pem).map_err(|error| wrong(&args.key, &error))?;
    let length = fs::metadata(&args.file).map_err(|error| wrong(&args.file, &error))?.len();
    // Not even read when it is longer than one can be.
    let too_long = usize::try_from(length).map_or(true, |length| length > attestation::LONGEST);
    let bytes = if too_long { Vec::new() } else { fs::read(&args.file).map_err(|error| wrong(&args.file, &error))? };
    match attestation::verify(&bytes, &key) {
        Ok(statement) if args.json => print(out, &format!("{}\n", String::from_utf8_lossy(&statement.canonical()))).map(|()| 0),
        Ok(statement) => {
            print(out, &format!("Attestation     as it was signed, by key {}\n{}", key.id(), statement.table())).map(|()| 0)
        }
        Err(error) => {
            // Nobody is left to tell when standard error is closed; the exit code says it too.
            let _closed = writeln!(err, "colloque: {}: {error}", args.file.display());
            Ok(EXIT_CHANGED)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::audit::attestation::{Account, LogRange, Member, Modality, Place, SigningKey, sign};
    use crate::audit::words::Role;
    use crate::audit::{Micros, Word};
    use crate::cli;
    use crate::cli::tests::told;
    use crate::model::Instant;
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    /// The key of RFC 8410 section 10.3, which everybody has.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";

    fn attestation() -> String {
        let word = |text| Word::new(text).expect("a word");
        let place = Place {
            build: word("9c1e5b7a2d4f6081"),
            consult: word("c-1"),
            node: word("n03"),
            region: word("FR/par1"),
            room: word("r-1"),
        };
        let opened = Instant::now();
        let at = |s| opened + Duration::from_secs(s);
        let mut account = Account::new(place, opened, Micros(1_795_253_467_204_118));
        let (doctor, patient) = (Member(1), Member(2));
        account.on_joined(doctor, &word("p-1"), Role::Doctor, at(0));
        account.on_joined(patient, &word("p-2"), Role::Patient, at(1));
        for s in 2..62 {
            account.on_delivered(patient, doctor, Modality::Video, (at(s), at(s)));
            account.on_delivered(doctor, patient, Modality::Video, (at(s), at(s)));
        }
        let log = LogRange { from_seq: 3, origin: word("clinic.example/fr1/t-7q2m/n03/1"), to_seq: 17 };
        let statement = account.statement(log, true, at(62), Micros(1_795_253_529_204_118));
        sign(&statement, &SigningKey::from_pem(PRIVATE).expect("a key"))
    }

    #[test]
    fn an_attestation_is_explained_or_refused() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/attestation");
        fs::create_dir_all(&folder).expect("a folder");
        let file = |name: &str| folder.join(name).to_str().expect("text").to_owned();
        let key = SigningKey::from_pem(PRIVATE).expect("a key").verifying_key();
        fs::write(file("public.pem"), key.to_pem()).expect("a file");
        let jws = attestation();
        fs::write(file("good"), format!("{jws}\n")).expect("a file");

        let (code, table, err) = told(&["attestation", "verify", &file("good"), "--key", &file("public.pem")]);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(table.contains("Two-way video   yes, 00:00:59 between physician and patient"), "{table}");
        assert!(!table.contains("p-1"), "people appear by role only");
        let (code, json, _) = told(&["attestation", "verify", &file("good"), "--key", &file("public.pem"), "--json"]);
        assert_eq!(code, 0);
        assert!(json.contains("\"video_two_way_s\":59"));

        fs::write(file("private.pem"), PRIVATE).expect("a file");
        let (code, public, _) = told(&["attestation", "key", &file("private.pem")]);
        assert_eq!((code, public), (0, key.to_pem()));
        assert_eq!(told(&["attestation", "key", &file("public.pem")]).0, cli::EXIT_CONFIG);

        let mut bytes = jws.into_bytes();
        bytes[100] ^= 1;
        fs::write(file("bad"), bytes).expect("a file");
        let (code, table, err) = told(&["attestation", "verify", &file("bad"), "--key", &file("public.pem")]);
        assert_eq!((code, table.as_str()), (super::EXIT_CHANGED, ""));
        assert!(err.contains("bad: "), "{err}");
        assert_eq!(told(&["attestation", "verify", &file("none"), "--key", &file("public.pem")]).0, cli::EXIT_CONFIG);
        assert_eq!(told(&["attestation", "verify", &file("good"), "--key", &file("good")]).0, cli::EXIT_CONFIG);
    }
}
