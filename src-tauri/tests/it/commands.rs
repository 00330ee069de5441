//! Commands in process, against Tauri's mock runtime: what they answer, and what they refuse.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tauri::ipc::{CallbackFn, InvokeBody};
use tauri::test::{INVOKE_KEY, MockRuntime, get_ipc_response, mock_builder, mock_context, noop_assets};
use tauri::webview::InvokeRequest;
use tauri::{App, WebviewWindow, WebviewWindowBuilder};
use trex_app::{Program, Shell, with_commands};

struct Window {
    folder: tempfile::TempDir,
    _app: App<MockRuntime>,
    view: WebviewWindow<MockRuntime>,
}

impl Window {
    /// With a `trex` that is this script.
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("trex");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let shell = Shell::with_program(folder.path().join("settings.json"), Ok(Program::at(program)));
        let builder = with_commands(mock_builder()).manage(shell);
        let app = builder.build(mock_context(noop_assets())).unwrap();
        let view = WebviewWindowBuilder::new(&app, "main", tauri::WebviewUrl::default()).build().unwrap();
        Self { folder, _app: app, view }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn call(&self, command: &str, arguments: Value) -> Result<Value, Value> {
        let request = InvokeRequest {
            cmd: command.to_owned(),
            callback: CallbackFn(0),
            error: CallbackFn(1),
            url: "tauri://localhost".parse().unwrap(),
            body: InvokeBody::Json(arguments),
            headers: tauri::http::HeaderMap::default(),
            invoke_key: INVOKE_KEY.to_owned(),
        };
        get_ipc_response(&self.view, request).map(|body| body.deserialize::<Value>().unwrap())
    }

    #[track_caller]
    fn refused(&self, command: &str, arguments: Value, code: &str) {
        let err = self.call(command, arguments).unwrap_err();
        assert_eq!(err["code"], code, "{err}");
    }
}

/// Answers with its own arguments.
const ECHO: &str = r#"printf '{"arguments":"%s"}\n' "$*""#;

#[test]
fn settings_are_kept_within_their_limits() {
    let window = Window::new(ECHO);
    let mut settings = window.call("settings", json!({})).unwrap();
    assert_eq!((&settings["offline"], &settings["theme"]), (&json!(true), &json!("system")));
    settings["text_px"] = json!(200);
    settings["theme"] = json!("dark");
    let kept = window.call("set_settings", json!({ "settings": settings })).unwrap();
    assert_eq!((&kept["text_px"], &kept["theme"]), (&json!(20), &json!("dark")));
    assert_eq!(window.call("settings", json!({})).unwrap(), kept);
}

#[test]
fn the_first_screen_has_the_built_in_tasks() {
    let view = Window::new(ECHO).call("home", json!({})).unwrap();
    let tasks: Vec<_> = view["tasks"].as_array().unwrap().iter().map(|task| task["name"].as_str().unwrap()).collect();
    assert_eq!((tasks.len(), tasks[0]), (10, "ftbench/mini-1"));
    assert_eq!(view["problem"], Value::Null);
}

#[test]
fn a_run_is_started_with_what_was_asked_and_leaves_a_log() {
    let window = Window::new(ECHO);
    let workspace = window.path("w");
    let request = json!({
        "workspace": workspace, "task": "ftbench/mini-2", "seed": 7, "model": "bundled", "trials": 5, "new": true,
    });
    window.call("start_run", json!({ "request": request })).unwrap();
    let log = wait_for_log(&workspace.join("logs"));
    let expected = format!(
        "run ftbench/mini-2 --workspace {} --seed 7 --model=bundled --trials=5 --new --json",
        workspace.display()
    );
    assert!(log.contains(&expected), "{log}");
    let recent = window.call("settings", json!({})).unwrap()["recent"].clone();
    assert_eq!(recent, json!([workspace]));
}

#[test]
fn a_run_holds_decisions_where_the_person_wants_that() {
    let window = Window::new(ECHO);
    let mut settings = window.call("settings", json!({})).unwrap();
    settings["review"] = json!(true);
    settings["autonomy"] = json!({"data": 40});
    window.call("set_settings", json!({ "settings": settings })).unwrap();
    let workspace = window.path("w");
    let request = json!({
        "workspace": workspace, "task": "ftbench/mini-2", "seed": 7, "model": null, "trials": null, "new": false,
    });
    window.call("start_run", json!({ "request": request })).unwrap();
    let log = wait_for_log(&workspace.join("logs"));
    assert!(log.contains("--review --autonomy=data=40 --json"), "{log}");
}

/// The program is a process of its own, so its first line takes a moment.
fn wait_for_log(folder: &Path) -> String {
    for _ in 0..500 {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let text: String = files.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect();
        if text.ends_with('\n') {
            return text;
        }
        std::thread::yield_now();
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
    panic!("no log in {}", folder.display());
}

#[test]
fn commands_ask_the_program() {
    let window = Window::new(ECHO);
    std::fs::write(window.path("rows.csv"), "a,b\n").unwrap();
    let root = window.folder.path().canonicalize().unwrap();
    let rows = root.join("rows.csv").display().to_string();
    let here = root.display().to_string();
    let cases = [
        ("models", json!({}), "model list --json".to_owned()),
        ("doctor", json!({}), "doctor --json".to_owned()),
        ("show_node", json!({"workspace": here, "id": "s1.e1.a"}), format!("show s1.e1.a --workspace {here} --json")),
        ("stop_run", json!({"workspace": here}), format!("stop --workspace {here} --json")),
        (
            "profile_data",
            json!({"path": rows, "model": "bundled"}),
            format!("data profile --model=bundled {rows} --json"),
        ),
        (
            "data_rows",
            json!({"path": rows, "page": 0, "rows": 9999, "filter": "--x"}),
            format!("data show --page=1 --rows=500 {rows} --filter=--x --json"),
        ),
        ("kb_list", json!({}), "kb list --json".to_owned()),
        ("kb_search", json!({"question": "--rate", "limit": 999}), "kb search --limit=50 rate --json".to_owned()),
        ("kb_show", json!({"id": "0ee9"}), "kb show 0ee9 --json".to_owned()),
        ("kb_add", json!({"paths": [rows]}), format!("kb add {rows} --json")),
        (
            "kb_graph",
            json!({"from": "operator:x", "depth": 90}),
            "kb graph --depth=6 --from=operator:x --json".to_owned(),
        ),
        (
            "kb_export",
            json!({"file": "/tmp/o.trexkb", "withDocuments": true, "sign": null}),
            "kb export /tmp/o.trexkb --with-documents --json".to_owned(),
        ),
        ("kb_import", json!({"file": rows, "trust": " "}), format!("kb import {rows} --json")),
        (
            "ask_models",
            json!({"workspace": here, "id": "best", "words": "-x", "system": "", "temperature": 0.5, "earlier": []}),
            format!("ask best  -x --workspace {here} --temperature=0.5 --json"),
        ),
        (
            "score_own",
            json!({"workspace": here, "id": "best", "file": rows}),
            format!("score best {rows} --workspace {here} --json"),
        ),
        ("net_log", json!({"last": 9000}), "net log --last=500 --json".to_owned()),
        ("outbound", json!({"workspace": here}), format!("researcher calls --workspace {here} --json")),
        (
            "order",
            json!({"workspace": here, "id": "s1.e1", "wish": {"type": "forbid", "reason": " no "}}),
            format!("forbid s1.e1 --workspace {here} --reason=no --json"),
        ),
        (
            "order",
            json!({
                "workspace": here, "id": "s1",
                "wish": {"type": "branch", "changes": [["config.lora.r", "16"]], "reason": ""},
            }),
            format!("branch s1 --workspace {here} --set=config.lora.r=16 --json"),
        ),
        (
            "order",
            json!({"workspace": here, "id": "s1", "wish": {"type": "pin"}}),
            format!("pin s1 --workspace {here} --json"),
        ),
        ("review_list", json!({"workspace": here}), format!("review list --all --workspace {here} --json")),
        ("review_show", json!({"workspace": here, "id": "r2"}), format!("review show r2 --workspace {here} --json")),
        (
            "review_decide",
            json!({
                "workspace": here, "id": "r2", "reason": " why ",
                "word": {"type": "edit", "changes": [["config.lora.r", "16"]]},
            }),
            format!("review edit r2 --workspace {here} --set=config.lora.r=16 --reason=why --json"),
        ),
    ];
    for (command, arguments, expected) in cases {
        assert_eq!(window.call(command, arguments).unwrap()["arguments"], expected, "{command}");
    }
}

/// Nothing leaves by a preview, and it names every record.
#[test]
fn previews_are_asked_as_text() {
    let window = Window::new(r#"printf '%s\n' "$*""#);
    std::fs::write(window.path("b.trexkb"), "").unwrap();
    let bundle = window.folder.path().canonicalize().unwrap().join("b.trexkb");
    let told = window.call("kb_export_preview", json!({"withDocuments": false})).unwrap();
    assert_eq!(told, "kb export preview.trexkb --preview\n");
    let told = window.call("kb_import_preview", json!({"file": bundle, "trust": "abc"})).unwrap();
    assert_eq!(told, format!("kb import {} --trust=abc --preview\n", bundle.display()));
}

/// The page gets the drafted text, and no file is left anywhere.
#[test]
fn a_draft_is_made_of_words_and_comes_with_its_text() {
    let script = r#"for word in "$@"; do case "$last" in --out) echo 'name = "x"' > "$word";; esac; last="$word"; done
printf '{"settled":true,"arguments":"%s"}\n' "$*""#;
    let window = Window::new(script);
    std::fs::write(window.path("rows.csv"), "a,b\n").unwrap();
    let arguments = json!({"words": "--better", "data": [window.path("rows.csv")], "answers": [["kind", "choice"]]});
    let draft = window.call("draft_task", arguments).unwrap();
    assert_eq!(draft["text"], "name = \"x\"\n");
    let said = draft["arguments"].as_str().unwrap();
    assert!(said.starts_with("new better --out ") && said.ends_with("--answer=kind=choice --json"), "{said}");
    let out = said.split(' ').nth(3).unwrap();
    assert!(!Path::new(out).exists());
}

/// A task with a file is forecast beside it, because its paths start there; no draft is left in either case.
#[test]
fn a_forecast_is_of_the_text_as_it_stands() {
    let window = Window::new(r#"text=$(tr -d '"' < "$3"); printf '{"arguments":"%s","text":"%s"}\n' "$*" "$text""#);
    let here = window.folder.path().canonicalize().unwrap();
    std::fs::write(here.join("mine.toml"), "name = 1\n").unwrap();
    for path in [json!(null), json!(here.join("mine.toml"))] {
        let arguments = json!({"path": path, "text": "name = \"x\"", "workspace": here.join("w"), "seed": 4});
        let found = window.call("forecast_task", arguments).unwrap();
        assert_eq!(found["text"], "name = x");
        let said = found["arguments"].as_str().unwrap();
        let draft = said.split(' ').nth(2).unwrap();
        let expected = format!("forecast --seed=4 {draft} --workspace {} --json", here.join("w").display());
        assert_eq!(said, expected);
        assert!(!Path::new(draft).exists() && (path.is_null() || draft.contains(".mine.draft")), "{draft}");
    }
    assert_eq!(std::fs::read_to_string(here.join("mine.toml")).unwrap(), "name = 1\n");
    let arguments = json!({"path": "/etc/passwd", "text": "", "workspace": here, "seed": 1});
    window.refused("forecast_task", arguments, "app.bad_path");
}

#[test]
fn a_window_without_runs_has_an_empty_scoreboard() {
    assert_eq!(Window::new(ECHO).call("scoreboard", json!({})).unwrap(), json!([]));
}

#[test]
fn what_the_program_refuses_comes_through_with_its_code() {
    let line = r#"{"type":"error","code":"data.empty","message":"no rows","causes":[],"hint":"add some"}"#;
    let window = Window::new(&format!("echo '{line}'; exit 3"));
    window.refused("models", json!({}), "data.empty");
}

#[test]
fn odd_input_is_refused_before_anything_is_started() {
    let window = Window::new("touch \"$0.called\"; echo '{}'");
    let here = window.folder.path();
    for id in ["", "--help", "s1 s2", "s1;ls", "../x"] {
        window.refused("show_node", json!({"workspace": here, "id": id}), "app.bad_input");
        let wish = json!({"type": "allow"});
        window.refused("order", json!({"workspace": here, "id": id, "wish": wish}), "app.bad_input");
    }
    for path in ["relative", "", "/no/such/place/at/all"] {
        window.refused("profile_data", json!({"path": path, "model": "bundled"}), "app.bad_path");
        window.refused("identify_path", json!({ "path": path }), "app.bad_path");
    }
    let request = json!({"workspace": "/tmp/../etc", "task": "ftbench/mini-1", "seed": 1, "model": null, "trials": null, "new": false});
    window.refused("start_run", json!({ "request": request }), "app.bad_path");
    let request = json!({"workspace": here.join("w"), "task": "no-such-task", "seed": 1, "model": null, "trials": null, "new": false});
    window.refused("start_run", json!({ "request": request }), "app.bad_path");
    window.refused("recipe_load", json!({"path": "/etc/passwd"}), "app.bad_path");
    window.refused("recipe_save", json!({"path": here.join("x.sh"), "text": ""}), "app.bad_path");
    for id in ["", "--help", "xyz", "0ee9 --json"] {
        window.refused("kb_show", json!({"id": id}), "app.bad_input");
        window.refused("kb_remove", json!({"id": id}), "app.bad_input");
    }
    for id in ["", "r", "--help", "r1x", "1"] {
        window.refused("review_show", json!({"workspace": here, "id": id}), "app.bad_input");
    }
    window.refused("kb_search", json!({"question": " --", "limit": 5}), "app.bad_input");
    window.refused("kb_add", json!({"paths": ["relative"]}), "app.bad_path");
    window.refused("kb_export", json!({"file": "x/../y", "withDocuments": false, "sign": null}), "app.bad_path");
    window.refused("bench_tables", json!({"folder": "/no/such/folder"}), "app.bad_path");
    assert!(!window.path("trex.called").exists());
}

#[test]
fn models_of_others_and_the_queue_are_asked_for() {
    let window = Window::new(ECHO);
    let here = window.folder.path().canonicalize().unwrap().display().to_string();
    let cases = [
        ("models_found", json!({}), "model found --json".to_owned()),
        ("queue_list", json!({}), "queue list --json".to_owned()),
        (
            "queue_add",
            json!({
                "request": {
                    "workspace": here, "task": "ftbench/mini-1", "seed": 3, "model": null, "trials": 5, "new": false,
                },
                "priority": -2,
            }),
            format!("--json queue add ftbench/mini-1 --workspace {here} --priority=-2 -- --seed 3 --trials=5"),
        ),
    ];
    for (command, arguments, expected) in cases {
        assert_eq!(window.call(command, arguments).unwrap()["arguments"], expected, "{command}");
    }
}

/// A change of the queue is one command, and then the list as it is.
#[test]
fn the_queue_is_changed_and_shown() {
    let window = Window::new(r#"printf '%s\n' "$*" >> "$(dirname "$0")/said"; printf '{"entries":[]}'"#);
    for (wish, expected) in [
        (json!({"type": "hold", "id": 4}), "queue hold 4 --json"),
        (json!({"type": "release", "id": 4}), "queue release 4 --json"),
        (json!({"type": "remove", "id": 4}), "queue remove 4 --json"),
        (json!({"type": "priority", "id": 4, "priority": -1}), "queue priority 4 -1 --json"),
        (json!({"type": "move", "id": 4, "before": 2}), "queue move 4 --before=2 --json"),
        (json!({"type": "move", "id": 4, "before": null}), "queue move 4 --json"),
        (json!({"type": "clear"}), "queue clear --json"),
    ] {
        std::fs::remove_file(window.path("said")).ok();
        let list = window.call("queue_change", json!({ "wish": wish })).unwrap();
        assert_eq!(list, json!({"entries": []}));
        let said = std::fs::read_to_string(window.path("said")).unwrap();
        assert_eq!(said.lines().collect::<Vec<_>>(), [expected, "queue list --json"]);
    }
}

/// A service goes on until the page ends it, starts another one, or the window is gone; what it cannot do is told.
#[cfg(unix)]
#[test]
fn a_service_lasts_until_it_is_ended() {
    let window = Window::new(
        r#"case "$2" in s9) echo '{"type":"error","code":"export.nothing","message":"no such node","causes":[]}'; exit 3;; esac
echo "{\"type\":\"serving\",\"url\":\"http://127.0.0.1:8765/v1\",\"model\":\"$*\"}"
cat > /dev/null; echo ended >> "${0%/*}/ended""#,
    );
    let here = window.folder.path();
    let start = |id: &str| window.call("serve_start", json!({"workspace": here, "id": id}));
    assert_eq!(window.call("serve_status", json!({})).unwrap(), json!(null));
    let said = start("best").unwrap();
    let arguments = said["model"].as_str().unwrap();
    assert!(arguments.starts_with("serve best --workspace") && arguments.ends_with("--json --until-input-ends"));
    assert_eq!(window.call("serve_status", json!({})).unwrap(), said);
    assert_eq!(start("s9").unwrap_err()["code"], "export.nothing");
    assert_eq!(window.call("serve_status", json!({})).unwrap(), json!(null), "the one before is over");
    start("s1.e1.a").unwrap();
    window.call("serve_stop", json!({})).unwrap();
    assert_eq!(window.call("serve_status", json!({})).unwrap(), json!(null));
}

/// The turns before reach the program as the lines of a file, which is gone afterwards.
#[test]
fn a_conversation_goes_on_from_its_turns() {
    let window = Window::new(
        r#"for last in "$@"; do [ "$before" = --conversation ] && file=$last; before=$last; done
printf '{"file":"%s","turns":[%s]}' "$file" "$(paste -sd, "$file")""#,
    );
    let turns = json!([{"words": "a\nb", "base": {"text": "\"c\"", "wall_s": 1.0}}, {"words": "d"}]);
    let here = window.folder.path();
    let question =
        json!({"workspace": here, "id": "best", "words": "x", "system": "", "temperature": null, "earlier": turns});
    let answer = window.call("ask_models", question).unwrap();
    assert_eq!(answer["turns"], turns);
    assert!(!Path::new(answer["file"].as_str().unwrap()).exists());
}

/// Whatever the page sends, the answer is a value or an error, and the window goes on.
#[test]
fn rubbish_from_the_page_breaks_nothing() {
    let window = Window::new(ECHO);
    let commands = [
        "settings",
        "set_settings",
        "identify_path",
        "start_run",
        "show_node",
        "run_at",
        "data_rows",
        "recipe_check",
        "kb_list",
        "kb_search",
        "kb_show",
        "kb_add",
        "kb_graph",
        "kb_import",
        "draft_task",
        "forecast_task",
        "net_log",
        "scoreboard",
        "bench_tables",
        "ask_models",
        "score_own",
        "serve_start",
        "order",
        "queue_change",
        "queue_add",
        "log_bundle",
        "opened",
    ];
    let values =
        [json!(null), json!(-1), json!("\u{0}"), json!([[]]), json!({"a": {"b": 1e308}}), json!("x".repeat(10_000))];
    let names =
        ["settings", "path", "request", "workspace", "id", "seq", "page", "text", "question", "words", "paths", "data"];
    for command in commands {
        for (at, value) in values.iter().enumerate() {
            let mut arguments = serde_json::Map::new();
            for (shift, name) in names.iter().enumerate() {
                arguments.insert((*name).to_owned(), values[(at + shift) % values.len()].clone());
            }
            window.call(command, Value::Object(arguments)).ok();
            window.call(command, json!({ "path": value })).ok();
        }
    }
    assert!(window.call("settings", json!({})).is_ok());
}

#[test]
fn a_folder_without_a_run_has_nothing_to_show() {
    let window = Window::new(ECHO);
    let here = window.folder.path();
    window.refused("run_at", json!({"workspace": here, "seq": 1}), "store.not_a_workspace");
}
