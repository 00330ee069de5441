import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vite'

// The page is loaded from the program itself, so one chunk is as good as many; nothing is inlined, for the sake of the
// content security policy.
export default defineConfig({
  plugins: [svelte()],
  clearScreen: false,
  server: { port: 5173, strictPort: true },
  build: { target: 'es2022', assetsInlineLimit: 0, chunkSizeWarningLimit: 2000, outDir: 'dist', emptyOutDir: true },
})
