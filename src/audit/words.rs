//! The closed sets of words of the record; nothing else ever stands where one of them is expected.

use super::field::words;

words! {
    /// What a participant is in the consultation.
    Role {
        Doctor = "doctor",
        Colleague = "colleague",
        Companion = "companion",
        Patient = "patient",
        Relative = "relative",
        Interpreter = "interpreter",
        Trainee = "trainee",
        Support = "support",
    }

    /// How a person was authenticated by the platform.
    AuthMethod {
        /// Pro Santé Connect.
        Psc = "psc",
        /// The professional's card as an application.
        Ecps = "ecps",
        /// The professional's card.
        Cps = "cps",
        PlatformMfa = "platform_mfa",
        PlatformPwd = "platform_pwd",
        LinkOtp = "link_otp",
        LinkOnly = "link_only",
    }

    /// How far the wall clock is to be trusted.
    Clock {
        Synced = "synced",
        Holdover = "holdover",
        Unsynced = "unsynced",
    }

    /// How an act ended.
    Outcome {
        Ok = "ok",
        Refused = "refused",
        Failed = "failed",
    }

    /// How the process before this one ended.
    PrevStop {
        Clean = "clean",
        Crash = "crash",
    }

    /// A protection of the process.
    SandboxPart {
        Landlock = "landlock",
        Seccomp = "seccomp",
        Mlock = "mlock",
        Nodump = "nodump",
        NoNewPrivs = "no_new_privs",
    }

    /// What a key is for.
    KeyUse {
        Dtls = "dtls",
        Tls = "tls",
        Signing = "signing",
        Pseudonym = "pseudonym",
        Token = "token",
        Link = "link",
        Attestation = "attestation",
    }

    /// Why a link between nodes was refused.
    LinkRefusal {
        RegionNotAllowed = "region_not_allowed",
        CertInvalid = "cert_invalid",
        PeerUnknown = "peer_unknown",
        Version = "version",
    }

    /// Why a room was not created.
    CreateRefusal {
        AuditUnavailable = "audit_unavailable",
        StorageCritical = "storage_critical",
        TenantSuspended = "tenant_suspended",
        RegionNotAllowed = "region_not_allowed",
        RateLimited = "rate_limited",
        NodeFull = "node_full",
        Draining = "draining",
        Policy = "policy",
        Malformed = "malformed",
    }

    /// Why a room ended.
    RoomEnd {
        ByProfessional = "by_professional",
        ByPatient = "by_patient",
        ByPlatform = "by_platform",
        Expired = "expired",
        Empty = "empty",
        NodeDrain = "node_drain",
        AuditGraceOver = "audit_grace_over",
        Policy = "policy",
    }

    /// Why a token was refused.
    TokenRefusal {
        Expired = "expired",
        NotYet = "not_yet",
        BadSignature = "bad_signature",
        UnknownKey = "unknown_key",
        BadAlg = "bad_alg",
        WrongAudience = "wrong_audience",
        WrongIssuer = "wrong_issuer",
        WrongRoom = "wrong_room",
        Replayed = "replayed",
        Revoked = "revoked",
        TtlTooLong = "ttl_too_long",
        RoleUnknown = "role_unknown",
        IdentityClaimPresent = "identity_claim_present",
        RoomFull = "room_full",
        RoomClosed = "room_closed",
        TooEarly = "too_early",
        TooLate = "too_late",
        AuditUnavailable = "audit_unavailable",
        TenantSuspended = "tenant_suspended",
        RateLimited = "rate_limited",
        Malformed = "malformed",
        /// A grant that makes somebody invisible.
        HiddenGrant = "hidden_grant",
    }

    /// Why somebody who waits was not admitted.
    AdmitRefusal {
        Declined = "declined",
        WrongPerson = "wrong_person",
        ConsentMissing = "consent_missing",
        NoProfessional = "no_professional",
        RoomFull = "room_full",
        RoomLocked = "room_locked",
        TooEarly = "too_early",
        TooLate = "too_late",
        AuditUnavailable = "audit_unavailable",
        Policy = "policy",
    }

    /// Why somebody left.
    LeaveReason {
        User = "user",
        NetworkLost = "network_lost",
        Removed = "removed",
        /// The same seat was taken by a newer connection.
        Replaced = "replaced",
        ConsentWithdrawn = "consent_withdrawn",
        RoomEnded = "room_ended",
        TimeLimit = "time_limit",
        TokenExpired = "token_expired",
        NodeDrain = "node_drain",
        Idle = "idle",
        ProtocolError = "protocol_error",
    }

    /// Why somebody was removed.
    RemoveReason {
        Excluded = "excluded",
        WrongPerson = "wrong_person",
        TokenRevoked = "token_revoked",
        PatientAsked = "patient_asked",
        Policy = "policy",
    }

    /// How media travels between a client and the relay.
    Transport {
        Udp = "udp",
        Tcp = "tcp",
        Turn = "turn",
    }

    /// The cipher suite of a DTLS session.
    DtlsSuite {
        EcdheEcdsaAes128GcmSha256 = "ecdhe_ecdsa_aes128_gcm_sha256",
        EcdheEcdsaAes256GcmSha384 = "ecdhe_ecdsa_aes256_gcm_sha384",
        EcdheEcdsaChacha20Poly1305 = "ecdhe_ecdsa_chacha20_poly1305",
        Other = "other",
    }

    /// The protection profile of SRTP.
    SrtpProfile {
        AeadAes256Gcm = "aead_aes_256_gcm",
        AeadAes128Gcm = "aead_aes_128_gcm",
        Aes128CmHmacSha1_80 = "aes128_cm_hmac_sha1_80",
    }

    /// How a professional checked the patient's identity.
    IdentityMethod {
        SeenDocument = "seen_document",
        KnownPatient = "known_patient",
        InsQualifiedByPlatform = "ins_qualified_by_platform",
        Other = "other",
    }

    /// Which way consent came.
    ConsentChannel {
        Token = "token",
        InCall = "in_call",
        Representative = "representative",
        /// The platform's API.
        Platform = "platform",
    }

    /// Why a professional goes on without consent.
    OverrideReason {
        LifeThreat = "life_threat",
        UnableToConsent = "unable_to_consent",
        LegalOrder = "legal_order",
    }

    /// What moved the gate of a seat.
    GateReason {
        Admission = "admission",
        Consent = "consent",
        ConsentWithdrawn = "consent_withdrawn",
        Override = "override",
        Moderation = "moderation",
        Left = "left",
        Policy = "policy",
    }

    /// The kind of a track.
    TrackKind {
        Audio = "audio",
        Video = "video",
        Screen = "screen",
        /// A medical device.
        Device = "device",
    }

    /// With or without pictures.
    MediaMode {
        AudioOnly = "audio_only",
        AudioVideo = "audio_video",
    }

    /// Why the mode changed.
    ModeReason {
        Bandwidth = "bandwidth",
        User = "user",
        Device = "device",
        Policy = "policy",
    }

    /// A technical incident worth a line in the patient's record.
    IncidentKind {
        VideoLost = "video_lost",
        AudioLost = "audio_lost",
        Frozen = "frozen",
        Reconnect = "reconnect",
        LowQuality = "low_quality",
        NodeMoved = "node_moved",
    }

    /// A permission of a seat.
    Permission {
        Subscribe = "subscribe",
        PublishAudio = "publish_audio",
        PublishVideo = "publish_video",
        PublishScreen = "publish_screen",
        PublishDevice = "publish_device",
        PublishData = "publish_data",
        UpdateMetadata = "update_metadata",
        Admit = "admit",
        Aside = "aside",
    }

    /// What a data channel is for.
    ChannelLabel {
        Chat = "chat",
        File = "file",
        Pointer = "pointer",
        Device = "device",
        Caption = "caption",
        /// Anything else: data that is not one of the above.
        Other = "other",
    }

    /// A size, rounded up.
    SizeClass {
        UpTo1Kib = "1k",
        UpTo16Kib = "16k",
        UpTo256Kib = "256k",
        UpTo4Mib = "4m",
        UpTo64Mib = "64m",
        Larger = "larger",
    }

    /// Whether media is encrypted from end to end.
    E2eeState {
        On = "on",
        Off = "off",
        Mixed = "mixed",
    }

    /// What an end-to-end encryption state rests on.
    E2eeEvidence {
        Declared = "declared",
        Negotiated = "negotiated",
    }

    /// How an administrator signed in.
    AdminMethod {
        Mtls = "mtls",
        Oidc = "oidc",
        /// A tenant's API key.
        ApiKey = "api_key",
        /// The command line, on the machine itself.
        Console = "console",
    }

    /// Why an administrator was refused.
    AdminRefusal {
        BadCredential = "bad_credential",
        Expired = "expired",
        AcrTooLow = "acr_too_low",
        NotAllowed = "not_allowed",
        RateLimited = "rate_limited",
        AuditUnavailable = "audit_unavailable",
    }

    /// An administrative call.
    AdminOp {
        RoomCreate = "room.create",
        RoomRead = "room.read",
        RoomUpdate = "room.update",
        RoomEnd = "room.end",
        SeatInvite = "seat.invite",
        SeatRead = "seat.read",
        SeatUpdate = "seat.update",
        SeatRemove = "seat.remove",
        TrackMute = "track.mute",
        DataSend = "data.send",
        ConsentWrite = "consent.write",
        AttestationRead = "attestation.read",
        TimelineRead = "timeline.read",
        EventsRead = "events.read",
        TenantWrite = "tenant.write",
        ConfigWrite = "config.write",
        KeyWrite = "key.write",
        NodeDrain = "node.drain",
        AuditRead = "audit.read",
        AuditHold = "audit.hold",
        AuditPurge = "audit.purge",
        AuditAcceptBreak = "audit.accept_break",
    }

    /// Why a log was opened.
    OpenReason {
        First = "first",
        Rotation = "rotation",
        Recovery = "recovery",
    }

    /// What an audit reading was limited to, besides its time.
    FilterKind {
        All = "all",
        Consultation = "consultation",
        Participant = "participant",
        Event = "event",
        Proof = "proof",
    }

    /// The form of an audit export.
    ExportFormat {
        Ndjson = "ndjson",
        FhirTde = "fhir-r4-tde",
        FhirBalp = "fhir-r4-balp",
        Atna = "atna",
        JsonReport = "json-report",
        Table = "table",
        Proof = "proof",
    }

    /// How long a log is kept.
    RetentionPolicy {
        /// 365 days.
        Fr365 = "fr-365",
        /// 180 days.
        Fr180 = "fr-180",
        /// 90 days.
        De90 = "de-90",
        /// A number of days of the tenant's own.
        Custom = "custom",
        /// Before its time, by two persons.
        Early = "early",
    }

    /// Why a purge was refused.
    PurgeRefusal {
        Hold = "hold",
        OnePerson = "one_person",
        NothingDue = "nothing_due",
        NotVerified = "not_verified",
    }

    /// What a hold covers.
    HoldScope {
        Log = "log",
        Consultation = "consultation",
    }

    /// What is wrong with a log's bytes.
    IntegrityFault {
        Frame = "frame",
        Form = "form",
        Chain = "chain",
        Tree = "tree",
        Signature = "signature",
        Gap = "gap",
    }

    /// Why a log could not be written.
    WriteFault {
        Io = "io",
        Full = "full",
        /// No certificate covers the present day.
        NoEpoch = "no_epoch",
        Overload = "overload",
    }

    /// Why a peer's packets were worth a line.
    AbuseKind {
        UnknownUfrag = "unknown_ufrag",
        BadIntegrity = "bad_integrity",
        Amplification = "amplification",
    }
}
