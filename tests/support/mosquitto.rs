//! A real mosquitto on a port of its own, with sessions kept on disk.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Outgoing, Packet, QoS};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// A broker that has not answered by then is broken.
const GUARD: Duration = Duration::from_secs(30);

/// Where distributions put the program; `sbin` is not on everybody's path.
const PROGRAMS: [&str; 3] = ["mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];

/// Somebody else may take the free port before mosquitto does.
const START_TRIES: u32 = 5;

/// Publishes packets up to this size.
const MAX_PACKET_BYTES: usize = 16 * 1024 * 1024;

static PUBLISHERS: AtomicU32 = AtomicU32::new(0);

/// A running broker; killed when dropped.
pub struct Mosquitto {
    dir: TempDir,
    port: u16,
    child: Option<Child>,
    extra_config: String,
}

impl Mosquitto {
    /// Starts a broker that lets everybody in, without TLS, and waits until it listens.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// As [`Mosquitto::start`], with more lines at the end of its configuration.
    pub async fn start_with(extra_config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut broker = Self { dir, port: 0, child: None, extra_config: extra_config.to_owned() };
        for _ in 0..START_TRIES {
            broker.port = free_port();
            if broker.run().await {
                return broker;
            }
        }
        panic!("mosquitto does not start: {}", broker.log());
    }

    /// The port without TLS, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `mqtt://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Kills it as a power cut would (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Lets it end in order (SIGTERM): sessions and messages are saved.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let status = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", child.id())).status().unwrap();
            assert!(status.success());
            child.wait().unwrap();
        }
    }

    /// Lets it save sessions and messages now (SIGUSR1), and waits until it has: from here on they survive a kill.
    pub async fn save(&self) {
        let saved = self.dir.path().join("mosquitto.db");
        let _ = std::fs::remove_file(&saved);
        let id = self.child.as_ref().expect("it does not run").id();
        let status = Command::new("sh").arg("-c").arg(format!("kill -USR1 {id}")).status().unwrap();
        assert!(status.success());
        let waited = timeout(GUARD, async {
            while !saved.exists() {
                sleep(Duration::from_millis(2)).await;
            }
        });
        waited.await.expect("mosquitto does not save");
    }

    /// Throws away what was saved, so that the next start knows no sessions.
    pub fn lose_sessions(&self) {
        assert!(self.child.is_none(), "stop it first");
        let saved = self.dir.path().join("mosquitto.db");
        if saved.exists() {
            std::fs::remove_file(saved).unwrap();
        }
    }

    /// Starts it again on the same port.
    pub async fn start_again(&mut self) {
        for _ in 0..START_TRIES {
            if self.run().await {
                return;
            }
            sleep(Duration::from_millis(200)).await;
        }
        panic!("mosquitto does not start again: {}", self.log());
    }

    /// Publishes one message with QoS 1 and waits until the broker has it.
    pub async fn publish(&self, topic: &str, payload: &[u8], retain: bool) {
        let number = PUBLISHERS.fetch_add(1, Ordering::Relaxed);
        let mut options = MqttOptions::new(format!("publisher-{number}"), "127.0.0.1", self.port);
        options.set_max_packet_size(MAX_PACKET_BYTES, MAX_PACKET_BYTES);
        let (client, mut eventloop) = AsyncClient::new(options, 8);
        client.publish(topic, QoS::AtLeastOnce, retain, payload).await.unwrap();
        let published = timeout(GUARD, async {
            loop {
                match eventloop.poll().await.unwrap() {
                    Event::Incoming(Packet::PubAck(_)) => client.disconnect().await.unwrap(),
                    Event::Outgoing(Outgoing::Disconnect) => return,
                    _ => {}
                }
            }
        });
        published.await.expect("the broker does not acknowledge");
    }

    async fn run(&mut self) -> bool {
        let config = self.dir.path().join("mosquitto.conf");
        std::fs::write(&config, self.config()).unwrap();
        let log = File::create(self.dir.path().join("mosquitto.log")).unwrap();
        let mut child = spawn(&config, &log);
        let listening = timeout(GUARD, async {
            while child.try_wait().unwrap().is_none() {
                if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                    return true;
                }
                sleep(Duration::from_millis(20)).await;
            }
            false
        });
        let listening = listening.await.unwrap_or(false);
        if listening {
            self.child = Some(child);
        } else {
            let _ = child.kill();
            let _ = child.wait();
        }
        listening
    }

    /// `user root` keeps a broker started by root able to read its own directory; it has no effect for other users.
    fn config(&self) -> String {
        let dir = self.dir.path().display();
        let (port, extra) = (self.port, &self.extra_config);
        format!(
            "user root\n\
             persistence true\n\
             persistence_location {dir}/\n\
             autosave_on_changes true\n\
             autosave_interval 1\n\
             max_inflight_messages 0\n\
             max_queued_messages 0\n\
             log_dest stderr\n\
             allow_anonymous true\n\
             listener {port} 127.0.0.1\n\
             {extra}\n"
        )
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("mosquitto.log")).unwrap_or_default()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// The dynamic security plugin that comes with mosquitto 2.
pub fn dynamic_security_plugin() -> String {
    let name = "mosquitto_dynamic_security.so";
    let mut places: Vec<PathBuf> = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from).to_vec();
    places.extend(std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path()));
    match places.iter().map(|place| place.join(name)).find(|path| path.exists()) {
        Some(path) => path.display().to_string(),
        None => panic!("{name} is not installed; it comes with mosquitto 2"),
    }
}

fn spawn(config: &Path, log: &File) -> Child {
    for program in PROGRAMS {
        let mut command = Command::new(program);
        command.arg("-c").arg(config).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log.try_clone().unwrap());
        match command.spawn() {
            Ok(child) => return child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => panic!("start {program}: {error}"),
        }
    }
    panic!("mosquitto is not installed; these tests need a real broker (Debian, Ubuntu: apt-get install mosquitto)");
}
