import { createPrivateKey, randomUUID, X509Certificate } from "node:crypto";
import { mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { KeyPair } from "../tls.ts";

const ACCOUNT_FILE = "account.key";
const CERTIFICATE_FILE = "certificate.pem";
const PRIVATE_KEY = /-----BEGIN (?:EC |RSA )?PRIVATE KEY-----[\s\S]+?-----END (?:EC |RSA )?PRIVATE KEY-----\n?/;

/** A certificate with its key, and when it is good. */
export interface OrderedCertificate extends KeyPair {
  readonly leaf: X509Certificate;
  /** Milliseconds since the epoch. */
  readonly validFrom: number;
  readonly validTo: number;
}

/**
 * What is kept between starts: the account's key, and the certificate with its key in one file, so that one rename replaces both.
 * Files are for their owner alone.
 */
export class AcmeState {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * Opens the folder, and makes it when there is none.
   * @param path The configured folder. Where distribution 2.x left a file of its own form, the folder is beside it: `<path>.d`.
   * @throws Error that names the folder
   */
  static async open(path: string): Promise<AcmeState> {
    const isFile = await stat(path).then(
      (info) => info.isFile(),
      () => false,
    );
    const folder = isFile ? `${path}.d` : path;
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw new Error(`http.tls.letsencrypt: cannot make the folder ${folder}: ${describe(error)}`, { cause: error });
    }
    return new AcmeState(folder);
  }

  /** The account's key in PEM; undefined when there is no account yet. @throws Error naming the file that cannot be read */
  async readAccountKey(): Promise<string | undefined> {
    return await this.#read(ACCOUNT_FILE);
  }

  async writeAccountKey(pem: string): Promise<void> {
    await this.#write(ACCOUNT_FILE, pem);
  }

  /** The last certificate; undefined when there is none. @throws Error naming the file that cannot be used */
  async readCertificate(): Promise<OrderedCertificate | undefined> {
    const text = await this.#read(CERTIFICATE_FILE);
    if (text === undefined) return undefined;
    try {
      return parseCertificate(text);
    } catch (error) {
      throw new Error(`http.tls.letsencrypt: ${join(this.#folder, CERTIFICATE_FILE)} cannot be used: ${describe(error)}`, { cause: error });
    }
  }

  /** Keeps a certificate. @throws Error when it and the key do not go together; nothing is kept then */
  async writeCertificate(pair: KeyPair): Promise<OrderedCertificate> {
    const text = `${pair.key.trimEnd()}\n${pair.certificate}`;
    const certificate = parseCertificate(text);
    await this.#write(CERTIFICATE_FILE, text);
    return certificate;
  }

  async #read(name: string): Promise<string | undefined> {
    const file = join(this.#folder, name);
    try {
      return await readFile(file, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw new Error(`http.tls.letsencrypt: cannot read ${file}: ${describe(error)}`, { cause: error });
    }
  }

  // Whole or not at all, also when the power goes.
  async #write(name: string, text: string): Promise<void> {
    const target = join(this.#folder, name);
    const draft = `${target}.${randomUUID()}`;
    try {
      const file = await open(draft, "wx", 0o600);
      try {
        await file.writeFile(text);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(draft, target);
    } catch (error) {
      await rm(draft, { force: true });
      throw new Error(`http.tls.letsencrypt: cannot write ${target}: ${describe(error)}`, { cause: error });
    }
  }
}

function parseCertificate(text: string): OrderedCertificate {
  const key = PRIVATE_KEY.exec(text)?.[0];
  if (key === undefined) throw new Error("it holds no private key");
  const certificate = text.replace(PRIVATE_KEY, "").trimStart();
  const leaf = new X509Certificate(certificate);
  if (!leaf.checkPrivateKey(createPrivateKey(key))) throw new Error("its private key belongs to another certificate");
  return { key, certificate, leaf, validFrom: Date.parse(leaf.validFrom), validTo: Date.parse(leaf.validTo) };
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
