// Makes the three servers of the compose file one replica set, unless they are one, and waits for its primary.

const members = ["mongo1:27017", "mongo2:27017", "mongo3:27017"];

try {
  rs.status();
} catch (error) {
  if (error.codeName !== "NotYetInitialized") {
    throw error;
  }
  rs.initiate({ _id: "rs0", members: members.map((host, number) => ({ _id: number, host })) });
}

while (!rs.status().members.some((member) => member.stateStr === "PRIMARY")) {
  sleep(500);
}
