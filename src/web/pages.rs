//! The consultation page: a directory read into memory at start, served with strict headers.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Bytes the page may have in all; a build is about two megabytes, a wrong directory is usually larger than this.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Files it may have.
const MAX_FILES: usize = 2_000;

/// Folders inside folders.
const MAX_DEPTH: usize = 8;

/// Only our own scripts; styles may be inline because video elements are sized by script; nobody may frame the page.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; \
    style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:; worker-src 'self' blob:; \
    connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What every file of the page is sent with.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(self), microphone=(self), display-capture=(self), geolocation=(), payment=(), usb=()",
    ),
];

/// The files of the page by their path.
#[derive(Debug, Default)]
pub struct Pages {
    files: BTreeMap<String, File>,
}

#[derive(Debug)]
struct File {
    bytes: Bytes,
    content_type: HeaderValue,
    lasting: bool,
}

impl Pages {
    /// Reads a directory; links are not followed.
    ///
    /// # Errors
    /// What the file system says, or [`io::ErrorKind::FileTooLarge`] beyond the limits of a page.
    pub fn read(directory: &Path) -> io::Result<Self> {
        let mut pages = Self::default();
        let mut budget = MAX_BYTES;
        pages.read_folder(directory, "", MAX_DEPTH, &mut budget)?;
        Ok(pages)
    }

    /// Where the page lies when nothing is configured: `web/dist` below the working directory or beside the executable.
    #[must_use]
    pub fn default_directory() -> Option<PathBuf> {
        let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(|folder| folder.join("web/dist")));
        [Some(PathBuf::from("web/dist")), beside].into_iter().flatten().find(|folder| folder.join("index.html").is_file())
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str, depth: usize, budget: &mut u64) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = format!("{prefix}/{name}");
            if kind.is_dir() && depth > 0 {
                self.read_folder(&entry.path(), &path, depth - 1, budget)?;
            } else if kind.is_file() {
                let size = entry.metadata()?.len();
                *budget = budget.checked_sub(size).ok_or(io::ErrorKind::FileTooLarge)?;
                if self.files.len() >= MAX_FILES {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                self.files.insert(path.clone(), File::new(&path, fs::read(entry.path())?.into()));
            }
        }
        Ok(())
    }

    /// The answer for a path; the root is `index.html`. Paths are looked up, never resolved, so `..` finds nothing.
    #[must_use]
    pub fn answer(&self, path: &str) -> Option<Response> {
        let path = if path == "/" { "/index.html" } else { path };
        let file = self.files.get(path)?;
        let mut response = Response::new(Body::from(file.bytes.clone()));
        file.write_headers(response.headers_mut());
        Some(response)
    }
}

impl File {
    fn new(path: &str, bytes: Bytes) -> Self {
        let content_type = mime_guess::from_path(path).first_raw().unwrap_or("application/octet-stream");
        let content_type = match content_type {
            "text/html" => "text/html; charset=utf-8",
            "text/javascript" => "text/javascript; charset=utf-8",
            "text/css" => "text/css; charset=utf-8",
            other => other,
        };
        // The bundler puts a hash of the content into the names below `assets`.
        Self { bytes, content_type: HeaderValue::from_static(content_type), lasting: path.starts_with("/assets/") }
    }

    fn write_headers(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
        let cache = if self.lasting { "public, max-age=31536000, immutable" } else { "no-cache" };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}
