use super::*;

const DOCTOR: MemberId = MemberId(1);
const PATIENT: MemberId = MemberId(2);

/// A second in which all is well.
const WELL: Figures = Figures {
    received: 100,
    lost: 0,
    sent: 100,
    sent_lost: 0,
    rtt_ms: Some(40),
    estimate_kbps: Some(2_000),
    wanted_kbps: 1_500,
    expects_media: true,
    signalling_alive: true,
};

struct Call {
    story: Timeline,
    began: Instant,
    second: u64,
}

impl Call {
    fn new() -> Self {
        let began = Instant::now();
        let mut call = Self { story: Timeline::new(began), began, second: 0 };
        call.story.on_joined(DOCTOR, Role::Doctor, None, began);
        call.story.on_joined(PATIENT, Role::Patient, None, began);
        call.pass(5, WELL, WELL);
        call
    }

    fn now(&self) -> Instant {
        self.began + Duration::from_secs(self.second)
    }

    fn pass(&mut self, seconds: u64, doctor: Figures, patient: Figures) {
        for _ in 0..seconds {
            self.second += 1;
            let now = self.now();
            self.story.on_figures(DOCTOR, &doctor, now);
            self.story.on_figures(PATIENT, &patient, now);
        }
    }

    fn find(&self, what: &str) -> Vec<Telling> {
        self.story.lines().into_iter().filter(|line| line.what == what).collect()
    }
}

#[test]
fn loss_is_told_with_its_figures() {
    let mut call = Call::new();
    call.pass(8, WELL, Figures { received: 88, lost: 12, ..WELL });
    call.pass(5, WELL, WELL);
    let [line] = call.find("loss_up").try_into().expect("one line");
    assert_eq!(line.text, "patient's line lost 12 % of packets for 8 s");
    assert_eq!(line.class, Class::TheirNetwork);
    assert_eq!(line.figures, [("lost_percent", 12), ("for_s", 8)]);
    assert_eq!(line.at, Duration::from_secs(5));
    assert!(!line.ongoing);
}

#[test]
fn short_pauses_belong_to_the_episode_and_single_seconds_are_not_told() {
    let mut call = Call::new();
    let bad = Figures { received: 80, lost: 20, ..WELL };
    call.pass(1, WELL, bad);
    call.pass(5, WELL, WELL);
    assert!(call.find("loss_up").is_empty());
    for _ in 0..3 {
        call.pass(2, WELL, bad);
        call.pass(2, WELL, WELL);
    }
    call.pass(5, WELL, WELL);
    assert_eq!(call.find("loss_up").len(), 1);
}

#[test]
fn silence_of_one_is_their_network() {
    let mut call = Call::new();
    call.pass(6, WELL, Figures { received: 0, ..WELL });
    assert!(call.find("silence")[0].ongoing);
    call.pass(1, WELL, WELL);
    let [line] = call.find("silence").try_into().expect("one line");
    assert_eq!(line.text, "no packets from patient for 6 s, while its signalling lived: their network");
    assert_eq!(line.class, Class::TheirNetwork);
}

#[test]
fn silence_of_all_is_ours() {
    let mut call = Call::new();
    let silent = Figures { received: 0, ..WELL };
    call.pass(6, silent, silent);
    call.pass(1, WELL, WELL);
    let lines = call.find("silence");
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line.class == Class::Relay), "{lines:?}");
}

#[test]
fn silence_with_signalling_gone_is_their_connection() {
    let mut call = Call::new();
    call.pass(6, WELL, Figures { received: 0, signalling_alive: false, ..WELL });
    call.pass(1, WELL, WELL);
    assert!(call.find("silence")[0].text.ends_with("their connection"));
}

#[test]
fn who_was_never_heard_has_a_firewall() {
    let began = Instant::now();
    let mut call = Call { story: Timeline::new(began), began, second: 0 };
    call.story.on_joined(DOCTOR, Role::Doctor, None, began);
    call.story.on_joined(PATIENT, Role::Patient, None, began);
    call.pass(5, WELL, Figures { received: 0, ..WELL });
    assert!(call.find("silence")[0].text.contains("firewall"));
}

#[test]
fn a_muted_camera_is_no_silence() {
    let mut call = Call::new();
    call.story.on_fact(DOCTOR, Fact::Muted(Kind::Video), call.now());
    call.pass(9, Figures { received: 0, expects_media: false, ..WELL }, WELL);
    assert!(call.find("silence").is_empty());
    let [line] = call.find("muted").try_into().expect("one line");
    assert_eq!((line.text.as_str(), line.class), ("doctor's camera muted by themselves", Class::OwnChoice));
}

#[test]
fn a_frozen_picture_is_put_down_to_the_end_in_trouble() {
    let frozen = Fact::Frozen { from: PATIENT, for_ms: 1_500 };
    let class = |doctor, patient| {
        let mut call = Call::new();
        call.pass(3, doctor, patient);
        call.story.on_fact(DOCTOR, frozen, call.now());
        call.find("frozen")[0].class
    };
    assert_eq!(class(WELL, Figures { received: 80, lost: 20, ..WELL }), Class::OtherSide);
    assert_eq!(class(Figures { sent_lost: 20, ..WELL }, WELL), Class::TheirNetwork);
    assert_eq!(class(WELL, WELL), Class::TheirDevice);
}

#[test]
fn narrow_and_slow_lines_are_told() {
    let mut call = Call::new();
    call.pass(4, WELL, Figures { estimate_kbps: Some(300), rtt_ms: Some(900), ..WELL });
    call.pass(4, WELL, WELL);
    assert_eq!(call.find("narrow")[0].figures, [("kbps", 300), ("for_s", 4)]);
    assert_eq!(call.find("slow")[0].figures, [("rtt_ms", 900), ("for_s", 4)]);
}

#[test]
fn leaving_ends_what_went_on() {
    let mut call = Call::new();
    call.pass(4, WELL, Figures { received: 0, ..WELL });
    call.story.on_fact(PATIENT, Fact::Left(Leaving::NetworkLost), call.now());
    call.pass(3, WELL, WELL);
    let lines = call.find("silence");
    assert_eq!(lines.len(), 1);
    assert!(!lines[0].ongoing);
    // Who is gone says nothing about the others.
    call.pass(4, Figures { received: 0, ..WELL }, Figures { expects_media: false, ..WELL });
    assert_eq!(call.find("silence").iter().filter(|line| line.seat == "doctor").count(), 1);
}

#[test]
fn who_comes_back_is_the_same_seat() {
    let mut call = Call::new();
    call.story.on_joined(MemberId(7), Role::Patient, Some(PATIENT), call.now());
    assert_eq!(call.find("joined").last().map(|line| line.text.clone()), Some("patient came back".to_owned()));
    call.story.on_joined(MemberId(8), Role::Patient, None, call.now());
    assert_eq!(call.find("joined").last().map(|line| line.seat.clone()), Some("patient 2".to_owned()));
}

#[test]
fn a_long_story_keeps_its_beginning_and_its_end() {
    let mut call = Call::new();
    for _ in 0..1_000 {
        call.story.on_fact(DOCTOR, Fact::Muted(Kind::Audio), call.now());
    }
    call.story.on_fact(DOCTOR, Fact::Left(Leaving::User), call.now());
    let lines = call.story.lines();
    assert_eq!(lines.len(), KEPT_FIRST + KEPT_LAST);
    assert_eq!((lines[0].what, lines[lines.len() - 1].what), ("joined", "left"));
    let json = call.story.render(&SupportCode::parse("123456").expect("a code"), call.now());
    assert_eq!(json["left_out"], 1_003 - (KEPT_FIRST + KEPT_LAST) as u64);
}

#[test]
fn a_story_is_found_by_its_code_until_it_is_forgotten() {
    let now = Instant::now();
    let mut book = Timelines::default();
    let one = book.open(1_999_999, now).expect("room");
    let two = book.open(999_999, now).expect("room");
    assert_eq!((one.to_text(), two.to_text()), ("999999".to_owned(), "000000".to_owned()), "a taken code is not given twice");
    assert!(book.story_mut(one).is_some());
    book.close(one, now);
    book.forget(now + Duration::from_secs(1));
    assert!(book.story(one).is_none());
    assert!(book.story(two).is_some(), "a call that goes on is kept");
    assert_eq!(SupportCode::parse("123 456"), SupportCode::parse("123-456"));
    for wrong in ["", "12345", "1234567", "12345a", "١٢٣٤٥٦"] {
        assert_eq!(SupportCode::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn the_number_of_stories_is_bounded() {
    let now = Instant::now();
    let mut book = Timelines::default();
    let opened = (0..20_000).filter_map(|random| book.open(random * 50, now)).count();
    assert_eq!(opened, 10_000);
}
