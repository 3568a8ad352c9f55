//! The numbered channels of `v5.channel.k8s.io` and its older forms: the first byte of a message is its channel.
//!
//! Facts from `k8s.io/apimachinery/pkg/util/remotecommand` and `k8s.io/apiserver/pkg/util/wsstream`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Status, StatusCause, StatusDetails};
use reeve_api::StatusError;
use serde::Deserialize;
use tokio_tungstenite::tungstenite::Message;

/// Input of the process.
pub const STDIN: u8 = 0;
/// Its output.
pub const STDOUT: u8 = 1;
/// Its error output.
pub const STDERR: u8 = 2;
/// How it ended.
pub const ERROR: u8 = 3;
/// Sizes of the terminal.
pub const RESIZE: u8 = 4;
/// Says in `v5` that the channel which the next byte names is closed.
const CLOSE: u8 = 255;

/// A subprotocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Its name in the handshake.
    pub name: &'static str,
    /// Data is base64 in text messages, the channel a digit.
    base64: bool,
    /// The end is told as a `Status`; otherwise as text, and only if it is a failure.
    status: bool,
    /// Channels can be closed one by one.
    close: bool,
}

/// The subprotocols of exec and attach.
const PROTOCOLS: [Protocol; 6] = [
    Protocol { name: "v5.channel.k8s.io", base64: false, status: true, close: true },
    Protocol { name: "v4.channel.k8s.io", base64: false, status: true, close: false },
    Protocol { name: "v4.base64.channel.k8s.io", base64: true, status: true, close: false },
    Protocol { name: "channel.k8s.io", base64: false, status: false, close: false },
    Protocol { name: "base64.channel.k8s.io", base64: true, status: false, close: false },
    Protocol { name: "", base64: false, status: false, close: false },
];

/// The names of the subprotocols.
pub const NAMES: [&str; 6] = {
    let mut names = [""; 6];
    let mut index = 0;
    while index < names.len() {
        names[index] = PROTOCOLS[index].name;
        index += 1;
    }
    names
};

/// What a client sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Data of a channel; channels of the server's side are left to the caller to refuse.
    Data(u8, Bytes),
    /// The client sends no more on this channel.
    Closed(u8),
    /// Nothing: an empty or a control message.
    Nothing,
}

impl Protocol {
    /// The subprotocol of a name.
    pub fn named(name: &str) -> Option<Protocol> {
        PROTOCOLS.into_iter().find(|protocol| protocol.name == name)
    }

    /// Reads a message. An error is the client's mistake.
    pub fn decode(self, message: Message) -> Result<Input, String> {
        let (channel, data) = match message {
            Message::Binary(mut data) if !data.is_empty() => (data.split_to(1)[0], data),
            Message::Text(text) if !text.is_empty() => {
                // Also clients of the binary forms may send text.
                let mut data = Bytes::from(text);
                let digit = data.split_to(1)[0];
                (if digit.is_ascii_digit() { digit - b'0' } else { digit }, data)
            }
            _ => return Ok(Input::Nothing),
        };
        if self.close && channel == CLOSE {
            return Ok(data.first().map_or(Input::Nothing, |channel| Input::Closed(*channel)));
        }
        if !self.base64 {
            return Ok(Input::Data(channel, data));
        }
        let data = STANDARD.decode(&data).map_err(|error| format!("data that is not base64: {error}"))?;
        Ok(Input::Data(channel, data.into()))
    }

    /// Writes a message.
    pub fn encode(self, channel: u8, data: &[u8]) -> Message {
        if self.base64 {
            let text = format!("{}{}", char::from(b'0' + channel), STANDARD.encode(data));
            return Message::text(text);
        }
        let mut message = Vec::with_capacity(data.len() + 1);
        message.push(channel);
        message.extend_from_slice(data);
        Message::binary(message)
    }

    /// The message that tells how a process ended, if this form has one.
    pub fn end(self, end: &Result<i32, StatusError>) -> Option<Message> {
        if self.status {
            return Some(self.encode(ERROR, &Protocol::end_json(end)));
        }
        let status = end_status(end);
        let failed = status.status.as_deref() == Some("Failure");
        failed.then(|| self.encode(ERROR, status.message.unwrap_or_default().as_bytes()))
    }

    /// How a process ended, as JSON.
    pub fn end_json(end: &Result<i32, StatusError>) -> Vec<u8> {
        // A Status holds nothing that JSON cannot say.
        serde_json::to_vec(&BareStatus(&end_status(end))).unwrap_or_default()
    }
}

/// A `Status` without its type, as upstream writes it here.
struct BareStatus<'a>(&'a Status);

impl serde::Serialize for BareStatus<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error as _, SerializeMap as _};
        let value = serde_json::to_value(self.0).map_err(S::Error::custom)?;
        let fields =
            value.as_object().into_iter().flatten().filter(|(name, _)| *name != "apiVersion" && *name != "kind");
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// How a process ended, as a `Status`: its exit code is the message of a cause.
fn end_status(end: &Result<i32, StatusError>) -> Status {
    match end {
        Ok(0) => Status { status: Some("Success".to_owned()), ..Status::default() },
        Ok(code) => Status {
            status: Some("Failure".to_owned()),
            reason: Some("NonZeroExitCode".to_owned()),
            message: Some(format!(
                "command terminated with non-zero exit code: command terminated with exit code {code}"
            )),
            details: Some(StatusDetails {
                causes: Some(vec![StatusCause {
                    reason: Some("ExitCode".to_owned()),
                    message: Some(code.to_string()),
                    field: None,
                }]),
                ..StatusDetails::default()
            }),
            ..Status::default()
        },
        Err(error) => error.to_status(),
    }
}

/// A terminal's size, as clients send it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    #[serde(rename = "Width", alias = "width")]
    pub width: u16,
    /// Rows.
    #[serde(rename = "Height", alias = "height")]
    pub height: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocol(name: &str) -> Protocol {
        Protocol::named(name).unwrap()
    }

    #[test]
    fn the_first_byte_is_the_channel() {
        let v5 = protocol("v5.channel.k8s.io");
        assert_eq!(v5.decode(Message::binary(vec![0, b'a'])), Ok(Input::Data(STDIN, Bytes::from_static(b"a"))));
        assert_eq!(v5.decode(Message::binary(vec![255, 0])), Ok(Input::Closed(STDIN)));
        assert_eq!(v5.decode(Message::binary(vec![255])), Ok(Input::Nothing));
        assert_eq!(v5.decode(Message::binary(vec![])), Ok(Input::Nothing));
        assert_eq!(v5.decode(Message::text("0a")), Ok(Input::Data(STDIN, Bytes::from_static(b"a"))));
        assert_eq!(v5.encode(STDOUT, b"x"), Message::binary(vec![1, b'x']));
        let v4 = protocol("v4.channel.k8s.io");
        assert_eq!(v4.decode(Message::binary(vec![255, 0])), Ok(Input::Data(255, Bytes::from_static(&[0]))));
        let base64 = protocol("v4.base64.channel.k8s.io");
        assert_eq!(base64.decode(Message::text("0YQ==")), Ok(Input::Data(STDIN, Bytes::from_static(b"a"))));
        assert_eq!(base64.encode(STDERR, b"a"), Message::text("2YQ=="));
        assert!(base64.decode(Message::text("0!")).is_err());
    }

    #[test]
    fn ends_are_upstreams() {
        let v4 = protocol("v4.channel.k8s.io");
        let json = |end: Result<i32, StatusError>| match v4.end(&end) {
            Some(Message::Binary(bytes)) if bytes[0] == ERROR => String::from_utf8(bytes[1..].to_vec()).unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(json(Ok(0)), r#"{"metadata":{},"status":"Success"}"#);
        let failed: serde_json::Value = serde_json::from_str(&json(Ok(3))).unwrap();
        assert_eq!(failed["reason"], "NonZeroExitCode");
        assert_eq!(failed["details"]["causes"][0], serde_json::json!({"reason": "ExitCode", "message": "3"}));
        let lost: serde_json::Value = serde_json::from_str(&json(Err(StatusError::internal("gone")))).unwrap();
        assert_eq!(lost["code"], 500);
        let oldest = protocol("channel.k8s.io");
        assert_eq!(oldest.end(&Ok(0)), None);
        assert!(oldest.end(&Ok(1)).is_some());
    }
}
