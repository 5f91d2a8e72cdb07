// Makes the three servers of the compose file one replica set, unless they are one, and waits for its primary.

// A primary that falls silent is replaced within seconds: docs/explanation/mongodb.md says why by these.
const settings = {
  electionTimeoutMillis: 3000,
  heartbeatTimeoutSecs: 3,
  heartbeatIntervalMillis: 100,
  catchUpTimeoutMillis: 500,
  chainingAllowed: false,
};
const members = ["mongo1:27017", "mongo2:27017", "mongo3:27017"];

try {
  rs.status();
} catch (error) {
  if (error.codeName !== "NotYetInitialized") {
    throw error;
  }
  rs.initiate({ _id: "rs0", members: members.map((host, number) => ({ _id: number, host })), settings });
}

while (!rs.status().members.some((member) => member.stateStr === "PRIMARY")) {
  sleep(500);
}
