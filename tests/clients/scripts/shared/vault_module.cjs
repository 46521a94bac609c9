// A module of Hardhat Ignition with deployments, calls, a value read from an event and a plain payment.
module.exports = (buildModule) => buildModule("VaultModule", (m) => {
  const vault = m.contract("Vault");
  const first = m.call(vault, "deposit", [m.getParameter("note", "first")], { value: 10n });
  m.call(vault, "transfer", [m.getAccount(1), 4n], { id: "half", after: [first] });
  m.call(vault, "transfer", [m.readEventArgument(first, "Deposited", "by"), 1n], { id: "back" });
  const other = m.contract("Vault", [], { id: "Other", after: [first] });
  m.call(other, "deposit", ["again"], { value: 10n, id: "again" });
  m.send("plain", vault, 10n, undefined, { after: [first] });
  return { vault, other };
});
