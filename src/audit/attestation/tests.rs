use super::*;
use crate::audit::types::{Micros, Word};
use crate::audit::words::Role;
use crate::model::Instant;
use proptest::prelude::*;
use std::time::Duration;

const PRIVATE: &str =
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";

const OPENED_AT: Micros = Micros(1_795_253_467_204_118);

const DOCTOR: Member = Member(1);
const PATIENT: Member = Member(2);
const NURSE: Member = Member(3);

fn word(text: &str) -> Word {
    Word::new(text).expect("a word")
}

fn key() -> SigningKey {
    SigningKey::from_pem(PRIVATE).expect("a key")
}

/// A consultation under a virtual clock that counts from its opening.
struct Call {
    account: Account,
    opened: Instant,
}

impl Call {
    fn new() -> Self {
        let opened = Instant::now();
        let place = Place {
            build: word("9c1e5b7a2d4f6081"),
            consult: word("c-1"),
            node: word("n03"),
            region: word("FR/par1"),
            room: word("r-1"),
        };
        Self { account: Account::new(place, opened, OPENED_AT), opened }
    }

    fn at(&self, ms: u64) -> Instant {
        self.opened + Duration::from_millis(ms)
    }

    fn joined(mut self) -> Self {
        let at = self.at(0);
        self.account.on_joined(DOCTOR, &word("p-doctor"), Role::Doctor, at);
        self.account.on_joined(PATIENT, &word("p-patient"), Role::Patient, at);
        self
    }

    /// Media flows from one to another over a stretch; the worker looks once a second.
    fn flows(&mut self, from: Member, to: Member, kind: Modality, start_ms: u64, end_ms: u64) {
        let mut tick = start_ms.div_ceil(1_000) * 1_000;
        while tick < end_ms + 1_000 {
            // A packet every 20 ms: the last one before the tick.
            let last = tick.min(end_ms) / 20 * 20;
            if last >= start_ms {
                self.account.on_delivered(to, from, kind, (self.at(last), self.at(last)));
            }
            tick += 1_000;
        }
    }

    fn both(&mut self, kind: Modality, start_ms: u64, end_ms: u64) {
        self.flows(DOCTOR, PATIENT, kind, start_ms, end_ms);
        self.flows(PATIENT, DOCTOR, kind, start_ms, end_ms);
    }

    fn statement(&self, ms: u64) -> Statement {
        let log = LogRange { from_seq: 10, origin: word("clinic.example/fr1/t-7q2m/n03/1"), to_seq: 40 };
        self.account.statement(log, true, self.at(ms), Micros(OPENED_AT.0 + ms * 1_000))
    }
}

fn full_call() -> Call {
    let mut call = Call::new().joined();
    let consent = ConsentFact {
        state: ConsentState::Given,
        scope: vec![word("teleconsultation")],
        text_version: Some(word("fr-3")),
        seq: 17,
    };
    call.account.on_consent(PATIENT, consent, call.at(500));
    call.both(Modality::Audio, 1_000, 600_000);
    call.both(Modality::Video, 1_000, 120_000);
    call.both(Modality::Video, 130_000, 600_000);
    call
}

#[test]
fn a_video_call_is_stated_with_its_interruption() {
    let statement = full_call().statement(600_000);

    assert!(statement.summary.video_two_way);
    assert!((588..=589).contains(&statement.summary.video_two_way_s), "{}", statement.summary.video_two_way_s);
    assert!((598..=599).contains(&statement.summary.audio_two_way_s));
    assert!(statement.complete);
    let video: Vec<_> = statement.interruptions.iter().filter(|one| one.kind == Modality::Video).collect();
    assert_eq!(video.len(), 2, "one each way");
    assert!(video.iter().all(|one| one.cause == Cause::Line && (9_000..=11_000).contains(&(one.to_ms - one.from_ms))));
    assert!(statement.interruptions.iter().all(|one| one.kind == Modality::Video));
}

#[test]
fn an_audio_only_call_says_so_plainly() {
    let mut call = Call::new().joined();
    call.both(Modality::Audio, 1_000, 300_000);
    call.flows(DOCTOR, PATIENT, Modality::Video, 1_000, 300_000);
    let statement = call.statement(300_000);

    assert!(!statement.summary.video_two_way, "one direction is not two");
    assert_eq!(statement.summary.video_two_way_s, 0);
    assert!(statement.summary.audio_two_way_s >= 298);
    assert!(statement.table().contains("Two-way video   no"));
}

#[test]
fn video_with_a_companion_alone_is_not_video_with_the_patient() {
    let mut call = Call::new().joined();
    call.account.on_joined(NURSE, &word("p-nurse"), Role::Companion, call.at(0));
    call.flows(DOCTOR, NURSE, Modality::Video, 0, 60_000);
    call.flows(NURSE, DOCTOR, Modality::Video, 0, 60_000);
    let statement = call.statement(60_000);

    assert!(!statement.summary.video_two_way);
    assert!(statement.two_way.iter().any(|pair| (pair.one, pair.other) == (1, 3) && pair.video_ms >= 58_000));
}

#[test]
fn a_camera_switched_off_is_the_senders_choice() {
    let mut call = Call::new().joined();
    call.both(Modality::Video, 0, 60_000);
    call.account.on_muted(DOCTOR, Modality::Video, true, call.at(60_000));
    call.flows(PATIENT, DOCTOR, Modality::Video, 60_000, 120_000);
    call.account.on_muted(DOCTOR, Modality::Video, false, call.at(90_000));
    call.flows(DOCTOR, PATIENT, Modality::Video, 90_000, 120_000);
    let statement = call.statement(120_000);

    let [one] = statement.interruptions.as_slice() else { panic!("one interruption") };
    assert_eq!((one.from, one.to, one.cause), (1, 2, Cause::Sender));
    assert!((88..=90).contains(&statement.summary.video_two_way_s));
}

#[test]
fn an_aside_interrupts_those_left_out() {
    let mut call = Call::new().joined();
    call.account.on_joined(NURSE, &word("p-nurse"), Role::Companion, call.at(0));
    call.both(Modality::Audio, 0, 30_000);
    call.account.on_aside(&[DOCTOR, NURSE], call.at(30_000));
    call.account.on_aside_closed(call.at(50_000));
    call.both(Modality::Audio, 50_000, 90_000);
    let statement = call.statement(90_000);

    assert_eq!(statement.asides, [Aside { from_ms: 30_000, members: vec![1, 3], to_ms: 50_000 }]);
    assert_eq!(statement.interruptions.len(), 2);
    assert!(statement.interruptions.iter().all(|one| one.cause == Cause::Aside));
}

#[test]
fn who_comes_back_keeps_the_seat() {
    let mut call = Call::new().joined();
    call.account.on_left(PATIENT, call.at(10_000));
    call.account.on_joined(Member(9), &word("p-patient"), Role::Patient, call.at(30_000));
    // The old stay ends late; the new one goes on.
    call.account.on_left(PATIENT, call.at(31_000));
    let statement = call.statement(60_000);

    assert_eq!(statement.seats.len(), 2);
    let spans = [Span { from_ms: 0, to_ms: 10_000 }, Span { from_ms: 30_000, to_ms: 60_000 }];
    assert_eq!(statement.seats[1].present, spans);
}

#[test]
fn seats_of_one_role_are_numbered() {
    let mut call = Call::new().joined();
    call.account.on_joined(Member(5), &word("p-aunt"), Role::Relative, call.at(0));
    call.account.on_joined(Member(6), &word("p-uncle"), Role::Relative, call.at(0));
    let statement = call.statement(1_000);
    assert_eq!(statement.name_of(1), "doctor");
    assert_eq!(statement.name_of(4), "relative 2");
}

#[test]
fn what_is_beyond_the_bounds_is_said_to_be_missing() {
    let mut call = Call::new();
    for number in 0..100 {
        call.account.on_joined(Member(number), &word(&format!("p-{number}")), Role::Trainee, call.at(0));
    }
    let statement = call.statement(1_000);
    assert_eq!(statement.seats.len(), 64);
    assert!(!statement.complete);
}

#[test]
fn what_was_signed_is_read_again() {
    let statement = full_call().statement(600_000);
    let jws = sign(&statement, &key());
    assert_eq!(verify(jws.as_bytes(), &key().verifying_key()), Ok(statement.clone()));
    assert_eq!(verify(format!("{jws}\n").as_bytes(), &key().verifying_key()), Ok(statement));
    let other = VerifyingKey::from_pem(
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n",
    );
    assert_eq!(verify(jws.as_bytes(), &other.expect("a key")), Err(AttestationError::OtherKey));
}

#[test]
fn a_document_of_another_type_is_no_attestation() {
    let statement = full_call().statement(600_000);
    let jws = sign_document("consultation-report+jwt", &statement.canonical(), &key());
    assert_eq!(verify(jws.as_bytes(), &key().verifying_key()), Err(AttestationError::OtherHeader));
}

#[test]
fn a_form_we_do_not_know_is_not_explained_away() {
    let mut statement = full_call().statement(600_000);
    statement.v = 2;
    let jws = sign(&statement, &key());
    assert_eq!(verify(jws.as_bytes(), &key().verifying_key()), Err(AttestationError::UnknownForm));
    let spaced = String::from_utf8(full_call().statement(1).canonical()).expect("text").replace(":[", ": [");
    let jws = sign_document(TYPE, spaced.as_bytes(), &key());
    assert_eq!(verify(jws.as_bytes(), &key().verifying_key()), Err(AttestationError::UnknownForm));
}

#[test]
fn every_flip_of_a_bit_is_refused() {
    let mut call = Call::new().joined();
    call.both(Modality::Video, 0, 5_000);
    let file = format!("{}\n", sign(&call.statement(5_000), &key())).into_bytes();
    let verifying = key().verifying_key();
    assert!(verify(&file, &verifying).is_ok(), "positive control");
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut changed = file.clone();
            changed[at] ^= 1 << bit;
            assert!(verify(&changed, &verifying).is_err(), "byte {at}, bit {bit}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_other_byte_is_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut call = Call::new().joined();
        call.both(Modality::Audio, 0, 9_000);
        let mut file = format!("{}\n", sign(&call.statement(9_000), &key())).into_bytes();
        let at = at.index(file.len());
        prop_assume!(file[at] != byte);
        file[at] = byte;
        prop_assert!(verify(&file, &key().verifying_key()).is_err());
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(verify(&bytes, &key().verifying_key()).is_err());
    }

    /// Media that really flowed over random stretches is stated with less than a second of error at either end.
    #[test]
    fn intervals_follow_reality(cuts in prop::collection::vec(2_600_u64..30_000, 2..12)) {
        let mut call = Call::new().joined();
        let (mut now, mut real) = (0, Vec::new());
        for pair in cuts.chunks(2) {
            let start = now + pair[0];
            let end = start + pair.get(1).copied().unwrap_or(5_000);
            call.flows(DOCTOR, PATIENT, Modality::Video, start, end);
            real.push(Span { from_ms: start, to_ms: end });
            now = end;
        }
        let statement = call.statement(now + 5_000);
        let [delivery] = statement.delivered.as_slice() else { panic!("one delivery") };
        prop_assert_eq!(delivery.intervals.len(), real.len());
        for (said, was) in delivery.intervals.iter().zip(&real) {
            prop_assert!(said.from_ms >= was.from_ms && said.from_ms - was.from_ms <= 1_000, "{:?} {:?}", said, was);
            prop_assert!(said.to_ms <= was.to_ms && was.to_ms - said.to_ms <= 1_000, "{:?} {:?}", said, was);
        }
    }
}
