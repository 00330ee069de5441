// Must be the very first import. WebKitGTK takes the language from the environment; under `LANG=C` it says "C", which is
// no language tag, `Intl` throws, and libraries that use it while they are loaded leave a blank page without a message.
try {
  new Intl.NumberFormat(navigator.language)
} catch {
  Object.defineProperty(navigator, 'language', { value: 'en-US' })
}
