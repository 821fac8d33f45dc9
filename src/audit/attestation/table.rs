//! A statement for people: plain lines, no pseudonyms.

use super::span::Span;
use super::statement::{Cause, ConsentState, Statement};
use super::time::clock;
use std::fmt::Write;

impl Statement {
    /// Tells the statement in plain words, one fact a line; people appear by role only.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _infallible = self.write_table(&mut text);
        text
    }

    fn write_table(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "Consultation    opened {} UTC", self.opened_at.as_str())?;
        writeln!(out, "Written         {} UTC", self.issued_at.as_str())?;
        let state = if self.ended { "ended" } else { "still open" };
        writeln!(out, "Duration        {} ({state})", clock(self.duration_ms))?;
        writeln!(out, "Processed in    {}, software {}", self.place.region.as_str(), self.place.build.as_str())?;
        writeln!(out, "Audit log       {}, entries {} to {}", self.log.origin.as_str(), self.log.from_seq, self.log.to_seq)?;
        self.write_summary(out)?;
        writeln!(out, "\nPresent")?;
        for seat in &self.seats {
            writeln!(out, "  {:<14}{}", self.name_of(seat.seat), stretches(&seat.present))?;
        }
        self.write_media(out)?;
        if !self.consents.is_empty() {
            writeln!(out, "\nConsent")?;
        }
        for consent in &self.consents {
            let scope: Vec<_> = consent.scope.iter().map(|word| word.as_str()).collect();
            let (who, what) = (self.name_of(consent.seat), state_word(consent.state));
            writeln!(out, "  {}  {who} {what}: {} (entry {})", clock(consent.at_ms), scope.join(", "), consent.seq)?;
        }
        if !self.asides.is_empty() {
            writeln!(out, "\nApart from the others")?;
        }
        for aside in &self.asides {
            let who: Vec<_> = aside.members.iter().map(|seat| self.name_of(*seat)).collect();
            writeln!(out, "  {} to {}  {}", clock(aside.from_ms), clock(aside.to_ms), who.join(", "))?;
        }
        Ok(())
    }

    fn write_summary(&self, out: &mut String) -> std::fmt::Result {
        let summary = &self.summary;
        if summary.video_two_way {
            writeln!(out, "Two-way video   yes, {} between physician and patient", clock(summary.video_two_way_s * 1_000))?;
        } else {
            writeln!(out, "Two-way video   no: physician and patient did not see each other")?;
        }
        match summary.audio_two_way_s {
            0 => writeln!(out, "Two-way sound   no: physician and patient did not hear each other")?,
            s => writeln!(out, "Two-way sound   yes, {} between physician and patient", clock(s * 1_000))?,
        }
        if !self.complete {
            writeln!(out, "Not complete    a limit was reached; more may have been delivered than is written here")?;
        }
        Ok(())
    }

    fn write_media(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "\nDelivered")?;
        for one in &self.delivered {
            let (from, to) = (self.name_of(one.from), self.name_of(one.to));
            writeln!(
                out,
                "  {:<7}{from} to {to}: {} in all; {}",
                one.kind.as_str(),
                clock(one.total_ms),
                stretches(&one.intervals)
            )?;
        }
        if !self.interruptions.is_empty() {
            writeln!(out, "\nInterrupted")?;
        }
        for one in &self.interruptions {
            let (from, to) = (self.name_of(one.from), self.name_of(one.to));
            let (kind, why) = (one.kind.as_str(), cause_words(one.cause));
            writeln!(out, "  {} to {}  {kind} of {from} did not reach {to}: {why}", clock(one.from_ms), clock(one.to_ms))?;
        }
        Ok(())
    }
}

fn stretches(spans: &[Span]) -> String {
    let each = spans.iter().map(|span| format!("{} to {}", clock(span.from_ms), clock(span.to_ms)));
    each.collect::<Vec<_>>().join(", ")
}

fn state_word(state: ConsentState) -> &'static str {
    match state {
        ConsentState::Given => "gave consent",
        ConsentState::Refused => "refused consent",
        ConsentState::Withdrawn => "withdrew consent",
        ConsentState::Overridden => "had consent overridden",
    }
}

fn cause_words(cause: Cause) -> &'static str {
    match cause {
        Cause::Sender => "switched off by the sender",
        Cause::Aside => "one of the two was in an aside",
        Cause::Consent => "not admitted, or consent was missing",
        Cause::Line => "line or device",
    }
}
