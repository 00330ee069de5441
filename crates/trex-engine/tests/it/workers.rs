use trex_domain::{Executor as _, FailureClass, Job, JobControl, JobOutcome, TrainConfig, TrainJob, WorkerEvent};
use trex_engine::WorkerProcesses;

/// Keeps what it hears and asks to stop at the first event where told so.
#[derive(Default)]
struct Listener {
    heard: Vec<WorkerEvent>,
    stops: bool,
}

impl JobControl for Listener {
    fn on_event(&mut self, event: &WorkerEvent) -> bool {
        self.heard.push(event.clone());
        !self.stops
    }
}

fn job() -> Job {
    Job::Train(TrainJob {
        model_dir: "model".into(),
        data: "data".into(),
        config: TrainConfig::default(),
        seed: 0,
        total_steps: 10,
        stop_step: 10,
        resume_from: None,
        resume_config: None,
        init_adapter: None,
        scratch_dir: "scratch".into(),
        blobs_dir: "blobs".into(),
        checkpoint_every: 5,
        threads: 3,
        backend: trex_domain::Backend::Auto,
        device: trex_domain::DeviceChoice::Auto,
        dev: None,
        micro_batch: None,
    })
}

fn run(script: &str, listener: &mut Listener) -> JobOutcome {
    let args = vec!["-c".to_owned(), script.to_owned()];
    WorkerProcesses { program: "/bin/sh".into(), args, threads: 3 }.run(&job(), listener)
}

fn trained() -> WorkerEvent {
    WorkerEvent::Trained(trex_testkit::train_done("x", 3))
}

/// A command that prints an event.
fn say(event: &WorkerEvent) -> String {
    let line = serde_json::to_string(event).expect("events have a JSON form");
    format!("printf '%s\\n' '{line}'")
}

/// The class, code and message of a failure.
#[track_caller]
fn failure(outcome: JobOutcome) -> (FailureClass, String, String) {
    let JobOutcome::Failed { class, code, message, .. } = outcome else { panic!("{outcome:?}") };
    (class, code, message)
}

#[test]
fn a_worker_gets_its_job_and_its_last_line_is_the_outcome() {
    let script = format!(
        r#"read -r job; case "$job" in '{{"job":"train"'*'"total_steps":10'*) ;; *) exit 9;; esac
        [ "$RAYON_NUM_THREADS" = 3 ] || exit 8
        {}; {}"#,
        say(&WorkerEvent::Heartbeat),
        say(&trained())
    );
    let mut listener = Listener::default();
    let outcome = run(&script, &mut listener);
    assert_eq!(outcome, JobOutcome::Trained(trex_testkit::train_done("x", 3)));
    assert_eq!(listener.heard, [WorkerEvent::Heartbeat, trained()]);
}

#[test]
fn a_worker_that_lingers_after_its_last_line_is_not_waited_for() {
    let script = format!("{}; exec cat", say(&trained()));
    assert!(matches!(run(&script, &mut Listener::default()), JobOutcome::Trained(_)));
}

#[test]
fn death_by_signal_is_a_crash() {
    let script = format!("{}; echo 'out of luck' >&2; kill -9 $$", say(&WorkerEvent::Heartbeat));
    let mut listener = Listener::default();
    let (class, code, message) = failure(run(&script, &mut listener));
    assert_eq!((class, code.as_str(), listener.heard.len()), (FailureClass::Crashed, "worker.died", 1));
    assert!(message.contains("signal: 9") && message.ends_with("out of luck"), "{message}");
}

#[test]
fn an_exit_without_result_is_a_crash() {
    let (class, _, message) = failure(run("exit 3", &mut Listener::default()));
    assert_eq!(class, FailureClass::Crashed);
    assert!(message.contains("exit status: 3"), "{message}");
}

#[test]
fn lines_that_are_no_events_are_passed_over() {
    let rubbish =
        r#"echo hello; echo; printf '\377\376\n'; echo '{"event":"unheard_of"}'; echo '{"event":'; echo '[]'"#;
    let mut listener = Listener::default();
    let outcome = run(&format!("{rubbish}; {}", say(&trained())), &mut listener);
    assert!(matches!(outcome, JobOutcome::Trained(_)), "{outcome:?}");
    assert_eq!(listener.heard, [trained()]);
}

#[test]
fn a_failure_is_passed_on_as_the_worker_tells_it() {
    let event = WorkerEvent::Failed {
        class: FailureClass::Diverged,
        code: "train.diverged".to_owned(),
        message: "the loss is NaN".to_owned(),
        hint: Some("lower learning_rate".to_owned()),
    };
    let JobOutcome::Failed { class, code, message, hint } = run(&say(&event), &mut Listener::default()) else {
        panic!("a failure is no success")
    };
    assert_eq!(WorkerEvent::Failed { class, code, message, hint }, event);
}

#[test]
fn closed_input_tells_a_worker_to_stop() {
    let cancelled = WorkerEvent::Failed {
        class: FailureClass::Cancelled,
        code: "train.cancelled".to_owned(),
        message: "asked to stop".to_owned(),
        hint: None,
    };
    // `cat` ends when standard input does, which is open as long as the job shall run.
    let script = format!("read -r job; {}; cat >/dev/null; {}", say(&WorkerEvent::Heartbeat), say(&cancelled));
    let mut listener = Listener { stops: true, ..Listener::default() };
    let (class, code, _) = failure(run(&script, &mut listener));
    assert_eq!((class, code.as_str()), (FailureClass::Cancelled, "train.cancelled"));
    assert_eq!(listener.heard.len(), 2);
}

#[test]
fn a_worker_that_never_reads_its_job_is_no_harm() {
    let outcome = run(&format!("exec <&-; {}", say(&trained())), &mut Listener::default());
    assert!(matches!(outcome, JobOutcome::Trained(_)), "{outcome:?}");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let workers = WorkerProcesses { program: "/no/such/program".into(), args: Vec::new(), threads: 1 };
    let (class, code, message) = failure(workers.run(&job(), &mut Listener::default()));
    assert_eq!((class, code.as_str()), (FailureClass::Config, "worker.cannot_start"));
    assert!(message.contains("/no/such/program"), "{message}");
}

/// Two jobs for workers of this script, which get `first` and `second` as theirs.
fn run_two(script: &str, on_event: &mut dyn FnMut(usize, &WorkerEvent) -> bool) -> Vec<JobOutcome> {
    let args = vec!["-c".to_owned(), script.to_owned()];
    let jobs = ["first", "second"].map(|name| {
        let Job::Train(job) = job() else { panic!("it is a training") };
        Job::Train(TrainJob { scratch_dir: name.into(), ..job })
    });
    let workers = WorkerProcesses { program: "/bin/sh".into(), args, threads: 3 };
    workers.run_all(&[&jobs[0], &jobs[1]], on_event)
}

#[test]
fn workers_run_at_the_same_time() {
    let folder = trex_testkit::TempWorkspace::empty();
    let dir = folder.path().display();
    // Each waits for the other one's file, so neither could end alone.
    let script = format!(
        r#"read -r job
        case "$job" in *first*) own=a; other=b;; *) own=b; other=a;; esac
        : > '{dir}'/$own; {}; while [ ! -e '{dir}'/$other ]; do sleep 0.01; done
        if [ $own = a ]; then {}; else exit 3; fi"#,
        say(&WorkerEvent::Heartbeat),
        say(&trained())
    );
    let mut heard = [0, 0];
    let mut outcomes = run_two(&script, &mut |place, _| {
        heard[place] += 1;
        true
    });
    assert_eq!(heard, [2, 1]);
    let (class, ..) = failure(outcomes.pop().unwrap());
    assert_eq!(class, FailureClass::Crashed, "outcomes are in the order of the jobs");
    assert!(matches!(outcomes.pop(), Some(JobOutcome::Trained(_))));
}

#[test]
fn a_request_to_stop_reaches_all_workers() {
    // Each beats until its standard input ends.
    let script = format!(
        "read -r job; (while :; do {}; sleep 0.01; done) & beat=$!; cat >/dev/null; kill $beat; exit 4",
        say(&WorkerEvent::Heartbeat)
    );
    let mut heard = 0;
    let outcomes = run_two(&script, &mut |_, _| {
        heard += 1;
        heard < 5
    });
    assert!(outcomes.into_iter().all(|outcome| failure(outcome).0 == FailureClass::Crashed));
}
