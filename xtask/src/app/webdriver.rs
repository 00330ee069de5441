//! The few words of the WebDriver protocol (W3C, 2018) that driving our own window takes, spoken to WebKitWebDriver on this
//! machine. Knows no screen of ours, and no other host.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// Longest wait for one answer.
const ANSWER_WITHIN: Duration = Duration::from_mins(2);

/// Time between two looks while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// The key under which WebDriver hands elements over.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One window that is driven.
pub(super) struct Session {
    port: u16,
    id: String,
}

impl Session {
    /// Has the driver at a port start a program, and waits for its page.
    pub(super) fn begin(port: u16, program: &Path, arguments: &[&str]) -> Result<Self> {
        let options = json!({ "binary": program, "args": arguments });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "webkitgtk:browserOptions": options } } });
        let begun = call(port, "POST", "/session", &wanted).context("the window does not start")?;
        let id = begun["sessionId"].as_str().context("the driver names no session")?.to_owned();
        let session = Self { port, id };
        let timeouts = json!({ "script": 60_000, "pageLoad": 60_000, "implicit": 0 });
        session.call("POST", "/timeouts", &timeouts)?;
        Ok(session)
    }

    /// Ends it and the program.
    pub(super) fn end(&self) -> Result<()> {
        self.call("DELETE", "", &Value::Null).map(drop)
    }

    /// Runs the body of a function in the page.
    pub(super) fn run(&self, script: &str, arguments: &[Value]) -> Result<Value> {
        self.call("POST", "/execute/sync", &json!({ "script": script, "args": arguments }))
            .with_context(|| format!("in the page: {}", script.chars().take(120).collect::<String>()))
    }

    /// The same for a promise, which stands in `script` as an expression.
    pub(super) fn promise(&self, script: &str, arguments: &[Value]) -> Result<Value> {
        let script = format!(
            "const done = arguments[arguments.length - 1]; \
             Promise.resolve({script}).then((value) => done({{ value: value ?? null }}), \
             (error) => done({{ error: error?.message ?? JSON.stringify(error) ?? String(error) }}))"
        );
        let answer = self.call("POST", "/execute/async", &json!({ "script": script, "args": arguments }))?;
        match answer.get("error") {
            Some(error) => bail!("the page says: {error}"),
            None => Ok(answer["value"].clone()),
        }
    }

    /// Asks a command of the shell, as the page does.
    pub(super) fn ask(&self, command: &str, arguments: Value) -> Result<Value> {
        self.promise(
            "window.__TAURI_INTERNALS__.invoke(arguments[0], arguments[1])",
            &[Value::from(command), arguments],
        )
        .with_context(|| format!("command {command}"))
    }

    /// Waits until an expression is true of the page, and returns it.
    pub(super) fn wait(&self, what: &str, expression: &str, within_s: u64) -> Result<Value> {
        let end = Instant::now() + Duration::from_secs(within_s);
        let script = format!("return ({expression}) || null");
        loop {
            let value = self.run(&script, &[])?;
            if !value.is_null() {
                return Ok(value);
            }
            if Instant::now() > end {
                bail!("not within {within_s} s: {what}");
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Loads the page anew, and comes back when the old one is gone: the driver itself returns before that, and what is
    /// asked then may still be answered, or clicked, in the page that goes.
    pub(super) fn reload(&self) -> Result<()> {
        self.run("window.trexOld = true; location.reload()", &[])?;
        self.wait("the page, loaded anew", "!window.trexOld && document.readyState === 'complete'", 60).map(drop)
    }

    /// Clicks what a CSS selector finds, once it is there.
    pub(super) fn click(&self, selector: &str) -> Result<()> {
        let element = self.element(selector)?;
        self.call("POST", &format!("/element/{element}/click"), &json!({}))
            .with_context(|| format!("click on {selector}"))
            .map(drop)
    }

    /// Presses and lets go the mouse at a place of the page.
    pub(super) fn point(&self, x: f64, y: f64) -> Result<()> {
        let moved = json!({ "type": "pointerMove", "duration": 0, "x": x.round(), "y": y.round() });
        let (down, up) = (json!({ "type": "pointerDown", "button": 0 }), json!({ "type": "pointerUp", "button": 0 }));
        let wait = json!({ "type": "pause", "duration": 120 });
        let pointer = json!({ "type": "pointer", "id": "mouse", "actions": [moved, wait, down, wait, up] });
        self.call("POST", "/actions", &json!({ "actions": [pointer] })).context("click on the canvas").map(drop)
    }

    /// Presses the Tab key.
    pub(super) fn tab(&self) -> Result<()> {
        let press = |kind: &str| json!({ "type": kind, "value": "\u{e004}" });
        let keys = json!({ "type": "key", "id": "keyboard", "actions": [press("keyDown"), press("keyUp")] });
        self.call("POST", "/actions", &json!({ "actions": [keys] })).context("the Tab key").map(drop)
    }

    /// Types keys into an element.
    pub(super) fn keys(&self, selector: &str, keys: &str) -> Result<()> {
        let element = self.element(selector)?;
        self.call("POST", &format!("/element/{element}/value"), &json!({ "text": keys }))
            .with_context(|| format!("keys for {selector}"))
            .map(drop)
    }

    /// Sets the value of a field, as if a person had changed it.
    pub(super) fn fill(&self, selector: &str, value: &str) -> Result<()> {
        self.wait(selector, &format!("document.querySelector({})", Value::from(selector)), 20)?;
        let script = "const field = document.querySelector(arguments[0]); field.value = arguments[1]; \
                      for (const name of ['input', 'change']) field.dispatchEvent(new Event(name, { bubbles: true }))";
        self.run(script, &[Value::from(selector), Value::from(value)]).map(drop)
    }

    /// The window's page as PNG, after two frames: what the page shows by then is what a script found in it before.
    pub(super) fn picture(&self, file: &Path) -> Result<()> {
        let frames = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))";
        self.promise(frames, &[])?;
        let taken = self.call("GET", "/screenshot", &Value::Null)?;
        let png = decode_base64(taken.as_str().context("no picture")?).context("the picture is not base64")?;
        std::fs::write(file, png).with_context(|| format!("cannot write {}", file.display()))
    }

    fn element(&self, selector: &str) -> Result<String> {
        let found = format!("document.querySelector({})", Value::from(selector));
        self.wait(selector, &found, 20)?;
        let found = self.call("POST", "/element", &json!({ "using": "css selector", "value": selector }))?;
        Ok(found[ELEMENT].as_str().with_context(|| format!("no element {selector}"))?.to_owned())
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        call(self.port, method, &format!("/session/{}{path}", self.id), body)
    }
}

/// One request; the value of its answer.
fn call(port: u16, method: &str, path: &str, body: &Value) -> Result<Value> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = TcpStream::connect(("127.0.0.1", port)).context("the driver does not answer")?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).context("no time limit")?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body.as_bytes()))
        .context("cannot ask the driver")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("no answer of the driver")?;
    value_of(&answer).with_context(|| format!("{method} {path}"))
}

/// The value of an HTTP answer; an error of WebDriver as error.
fn value_of(answer: &[u8]) -> Result<Value> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    let is_fine = head.split(' ').nth(1) == Some("200");
    let mut parsed: Value = serde_json::from_str(body.trim()).context("the answer is not JSON")?;
    let value = parsed["value"].take();
    if is_fine {
        return Ok(value);
    }
    bail!("{}: {}", value["error"].as_str().unwrap_or("error"), value["message"].as_str().unwrap_or(body))
}

/// RFC 4648, section 4.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=');
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut num_bits) = (0_u32, 0);
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        num_bits += 6;
        if num_bits >= 8 {
            num_bits -= 8;
            bytes.push(u8::try_from(bits >> num_bits & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded_as_in_the_rfc() {
        let cases = [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9v\nYmFy", "foobar")];
        for (text, expected) in cases {
            assert_eq!(decode_base64(text).as_deref(), Some(expected.as_bytes()), "{text}");
        }
        assert_eq!(decode_base64("/+8="), Some(vec![0xff, 0xef]));
        assert_eq!(decode_base64("a-b"), None);
    }

    #[test]
    fn answers_have_a_value_or_an_error() {
        let answer = |status: &str, body: &str| format!("HTTP/1.1 {status}\r\nA: b\r\n\r\n{body}").into_bytes();
        assert_eq!(value_of(&answer("200 OK", r#"{"value":{"a":1}}"#)).unwrap(), json!({ "a": 1 }));
        let err = value_of(&answer("404 Not Found", r#"{"value":{"error":"no such element","message":"x"}}"#));
        assert_eq!(err.unwrap_err().to_string(), "no such element: x");
        assert!(value_of(b"rubbish").is_err());
    }
}
