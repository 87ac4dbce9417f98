//! `vmswitch workers`

use crate::{
    answer::Answer,
    client::Client,
    failure::Failure,
    style::Style,
    table::{Cell, Table},
};
use model::WorkerStatus;

pub async fn show(client: &Client, style: Style) -> Result<Answer, Failure> {
    let workers: Vec<WorkerStatus> = client.get("/v1/workers").await?;
    Answer::new(&workers, table(&workers).render(style))
}

fn table(workers: &[WorkerStatus]) -> Table {
    let mut table = Table::new(&["WORKER", ">CPU", ">UP", ">BUSY %", ">FRAMES", ">BATCHES", ">FRAMES/BATCH"]);
    for worker in workers {
        let cpu = worker.cpu.map_or_else(|| "any".into(), |cpu| cpu.to_string());
        let ratio = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        table.row([
            Cell::from(worker.worker),
            cpu.into(),
            format!("{} s", worker.uptime_ns / 1_000_000_000).into(),
            format!("{:.1}", 100.0 * ratio(worker.busy_ns, worker.uptime_ns)).into(),
            worker.frames.into(),
            worker.batches.into(),
            format!("{:.1}", ratio(worker.frames, worker.batches)).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_a_table() {
        let first = WorkerStatus {
            worker: 0,
            cpu: Some(2),
            uptime_ns: 10_000_000_000,
            busy_ns: 2_500_000_000,
            frames: 640,
            batches: 20,
        };
        let second = WorkerStatus { worker: 1, cpu: None, busy_ns: 0, frames: 0, batches: 0, ..first };
        let expected = "\
WORKER  CPU    UP  BUSY %  FRAMES  BATCHES  FRAMES/BATCH
0         2  10 s    25.0     640       20          32.0
1       any  10 s     0.0       0        0           0.0
";
        assert_eq!(table(&[first, second]).render(Style::PLAIN), expected);
    }
}
