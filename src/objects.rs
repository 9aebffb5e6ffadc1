//! Objects: content under names, `blob://{bucket}/{key}`, that the code of a task writes and reads.
//!
//! A name belongs to a stream and stands for one blob for ever: the ARTIFACT `registered` that says so is the first
//! record of a subject that is derived from the name, so that of two writers of one name the log takes one. Requests are
//! signed by short-lived credentials, which hold a task's prefixes and nothing else; what they do not cover is denied.
//! The bytes are the blob store's: bounded, streamed, checked and durable before any record names them.

mod credentials;
mod name;
mod record;
mod routes;
mod session;
mod sign;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gesta_log_format::Digest;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use name::BY_DIGEST;
pub(crate) use record::{Kept, find};

use crate::append::Appender;
use crate::capability::prefix::Object;
use crate::capability::{self, KeyFilesError};
use crate::ingress::Ingress;
use crate::limits;
use crate::sequencer::Places;
use crate::server::App;
use crate::store::{LookupError, Store};
use session::{Grant, Session};
use sign::Signer;

/// The objects of a server.
pub struct Objects {
    store: Arc<Store>,
    appender: Appender,
    places: Arc<Places>,
    signer: Signer,
}

impl Objects {
    /// Reads the key that signs, or makes it: `keys/objects.key` in the data directory.
    ///
    /// # Errors
    /// [`KeyFilesError`].
    pub fn open(data: &Path, ingress: &Ingress) -> Result<Self, KeyFilesError> {
        Ok(Self {
            store: Arc::clone(&ingress.store),
            appender: ingress.appender(),
            places: Places::new(limits::OBJECT_RECORDS_MAX),
            signer: Signer::new(&capability::objects_key(data)?),
        })
    }

    /// What a name of a stream stands for. Blocks on the disk.
    ///
    /// # Errors
    /// [`LookupError`].
    pub(crate) fn find(&self, stream_id: &str, object: &Object) -> Result<Option<Kept>, LookupError> {
        record::find(&self.store, stream_id, object)
    }

    /// Path and query of a GET of the blob, signed: good on the task listener until `expires`, in seconds since 1970, and
    /// for nothing else.
    #[must_use]
    pub fn blob_url(&self, digest: &Digest, expires: u64) -> String {
        let session = Session::new(expires, Grant::Blob { sha256: digest.hex() });
        let path = name::blob_path(digest);
        let query = self.signer.issue(&session).sign("GET", &path, expires);
        format!("{path}?{query}")
    }
}

/// The routes of the task listener.
pub(crate) fn task_router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(routes::put_object, routes::get_object))
        .routes(routes!(credentials::post_credentials))
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
