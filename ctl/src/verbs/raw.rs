//! `--raw`: a request to any path of the API, for `get`, `create`, `replace` and `delete`.

use std::io::Write as _;

use futures::StreamExt as _;
use http::Method;

use super::common::FileArgs;
use crate::errors::{Failure, Outcome, fail};
use crate::session::Session;

/// Sends a request and prints the answer as it is. The body comes from the one file that is named.
pub async fn send(session: &mut Session, method: Method, path: &str, files: &FileArgs) -> Outcome {
    if !path.starts_with('/') {
        return fail(format!("--raw must be a valid URL path: {path:?} does not begin with /"));
    }
    let body = match files.filenames.as_slice() {
        [] => Vec::new(),
        [one] if one == "-" => {
            let mut body = Vec::new();
            std::io::Read::read_to_end(&mut session.io.input, &mut body)
                .map_err(|error| Failure::Message(format!("error reading STDIN: {error}")))?;
            body
        }
        [one] => std::fs::read(one).map_err(|error| Failure::Message(format!("error reading {one}: {error}")))?,
        _ => return fail("--raw can only use a single local file or stdin"),
    };
    let cluster = session.cluster()?;
    let call = cluster.client().rest_call(method, path, "application/json, */*", body.into());
    let mut answer = cluster.call(call).await?;
    while let Some(piece) = answer.body.next().await {
        session.io.out.write_all(&piece.map_err(|error| cluster.explain(error))?)?;
        session.io.out.flush()?;
    }
    Ok(())
}
