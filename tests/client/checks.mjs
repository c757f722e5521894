// For the scripts here: the client as it was installed, and checks in the manner of tests/cli/lib.sh
// ('ok - what', 'not ok - what'; the exit code tells whether any failed).
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { isDeepStrictEqual, inspect } from 'node:util'

// WATTLAW_NODE_FOLDER has node_modules; it is no part of the repository.
const modules = process.env.WATTLAW_NODE_FOLDER + '/node_modules'
export const OpenAI = createRequire(modules + '/')('openai')
export const clientVersion = JSON.parse(readFileSync(modules + '/openai/package.json')).version

let failures = 0

export function ok(what, isTrue, found) {
    console.log(`${isTrue ? 'ok' : 'not ok'} - ${what}`)
    if (!isTrue) {
        failures++
        process.exitCode = 1
        if (found !== undefined) console.log('    found: ' + inspect(found, { depth: 6 }))
    }
}

export function equal(what, found, expected) {
    ok(what, isDeepStrictEqual(found, expected), { found, expected })
}

// A part of the test; what it throws is a failure and does not end the others.
export async function part(name, run) {
    console.log(`# ${name}`)
    try {
        await run()
    } catch (error) {
        ok(`${name}: nothing unexpected is thrown`, false, error)
    }
}

// The error with which a promise ends; undefined when it does not.
export async function errorOf(promise) {
    try {
        await promise
    } catch (error) {
        return error
    }
    return undefined
}

// Tries until `test` is true, for at most `seconds`.
export async function until(seconds, test) {
    const end = Date.now() + seconds * 1000
    while (!(await test())) {
        if (Date.now() > end) return false
        await new Promise((resolve) => setTimeout(resolve, 50))
    }
    return true
}

// What the gateway adds to `usage`: all of it is there, with the types that are documented.
export function hasEnergy(usage) {
    const energy = usage?.energy
    const isInterval = (x) => x === null || (Array.isArray(x) && x.length === 2 && x[0] <= x[1])
    return (
        typeof energy?.wh === 'number' &&
        energy.wh >= 0 &&
        isInterval(energy.wh_ci95) &&
        isInterval(energy.net_wh_ci95) &&
        typeof energy.source === 'string' &&
        typeof energy.label === 'string'
    )
}
